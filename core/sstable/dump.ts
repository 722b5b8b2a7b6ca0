import type { PartitionCursor } from '#core/model/row.ts';
import { DumpWriter } from './dump-json.ts';
import { RowLines } from './dump-lines.ts';
import { keyTexts } from './dump-values.ts';
import type { SerializationHeader } from './serialization-header.ts';

/**
 * How it is printed: one JSON document; a JSON object on a line for each partition (`sstabledump -l`); only the keys
 * (`-e`); a line in Cassandra's internal form for each row (`-d`).
 */
export type DumpForm = 'document' | 'lines' | 'keys' | 'rows';

/** Whose sstabledump the shape is of: 5.0 added the kind of table and counts the position of a partition otherwise. */
export type DumpRelease = '4.1' | '5.0';

export interface DumpOptions {
  readonly form: DumpForm;
  readonly release: DumpRelease;
  /** Times as numbers of microseconds or seconds, like `sstabledump -t`; else ISO 8601. */
  readonly rawTimestamps?: boolean;
  /** The sum of a counter's shards instead of what sstabledump shows: the first eight bytes of its context. */
  readonly counterTotals?: boolean;
  /** Decides what has expired. Seconds since the epoch. */
  readonly nowSeconds: number;
  /** Which partitions, by the text of their key (`a:b` of several columns). Default: all. */
  readonly isWanted?: (key: string) => boolean;
  readonly signal?: AbortSignal;
}

/** A cursor over one SSTable, which knows where in Data.db its events stand. */
export interface PositionedCursor extends PartitionCursor {
  /** Where the event that `next` gave last begins: a plain position in Data.db. */
  readonly position: number;
}

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

/** Several values of a key in one text, as CompositeType#getString does. */
export function joinKey(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0]!;
  return texts.map((text) => text.replaceAll('\\', '\\\\').replaceAll(':', '\\:')).join(':');
}
