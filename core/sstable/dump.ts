import { DumpWriter } from './dump-json.ts';
import { RowLines } from './dump-lines.ts';
import type { DumpOptions } from './dump-options.ts';
import { joinKey, keyTexts } from './dump-values.ts';
import type { PositionedCursor } from './partition-cursor.ts';
import type { SerializationHeader } from './serialization-header.ts';

/**
 * The partitions in the shape of Cassandra's sstabledump, as pieces of text that make up the whole output. No more than
 * a row is held.
 *
 * @see org.apache.cassandra.tools.SSTableExport, .JsonTransformer
 */
export async function* dumpPartitions(
  cursor: PositionedCursor,
  header: SerializationHeader,
  options: DumpOptions,
): AsyncGenerator<string> {
  const writer = options.form === 'rows' ? new RowLines(header, options) : new DumpWriter(header, options);
  let isWanted = true;
  while (await cursor.fill(options.signal)) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      if (event.kind === 'partition' && options.isWanted) {
        const texts = keyTexts(header.keyTypes, event.key);
        isWanted = options.isWanted(joinKey(texts));
      }
      const text = isWanted ? writer.write(event, cursor.position) : '';
      if (text !== '') yield text;
    }
  }
  yield writer.end();
}
