import { instantText } from '#core/model/calendar-text.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import { splitPartitionKey } from '#core/model/partition-key.ts';
import { renderPlain, renderValue } from '#core/model/render-value.ts';
import {
  BoundKind,
  type Cell,
  type ColumnData,
  type Deletion,
  NO_DELETION_TIME,
  type PartitionCursor,
  type PartitionEvent,
  type PartitionStart,
  type RangeTombstoneMarker,
  type Row,
} from '#core/model/row.ts';
import { type ColumnDefinition, quoteIdentifier } from '#core/model/table-schema.ts';
import { ByteReader } from '../bytes/byte-reader.ts';
import { counterTotal } from './counter-context.ts';
import type { SerializationHeader } from './serialization-header.ts';

export interface DumpOptions {
  /** Times as numbers of microseconds or seconds, like `sstabledump -t`; else ISO 8601. */
  readonly rawTimestamps?: boolean;
  /** Decides what has expired. Seconds since the epoch. */
  readonly nowSeconds: number;
  readonly signal?: AbortSignal;
}

/**
 * Partitions as JSON in the shape of Cassandra's sstabledump, one text for each partition, without its `position`s.
 * A counter's value is its total (sstabledump shows the head of its shards).
 *
 * @see org.apache.cassandra.tools.JsonTransformer
 */
export async function* dumpPartitions(
  cursor: PartitionCursor,
  header: SerializationHeader,
  options: DumpOptions,
): AsyncGenerator<string> {
  const writer = new DumpWriter(header, options);
  while (await cursor.fill(options.signal)) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
      const text = writer.write(event);
      if (text !== undefined) yield text;
    }
  }
}

class DumpWriter {
  readonly #header: SerializationHeader;
  readonly #options: DumpOptions;
  #partition = '';
  #rows: string[] = [];

  constructor(header: SerializationHeader, options: DumpOptions) {
    this.#header = header;
    this.#options = options;
  }

  /** The partition's text when the event is its end. */
  write(event: PartitionEvent): string | undefined {
    switch (event.kind) {
      case 'partition':
        this.#partition = this.#start(event);
        this.#rows = [];
        return undefined;
      case 'row':
        this.#rows.push(this.#row(event));
        return undefined;
      case 'marker':
        this.#rows.push(this.#marker(event));
        return undefined;
      case 'end': {
        const rows = this.#rows.length === 0 ? '[ ]' : `[\n      ${this.#rows.join(',\n      ')}\n    ]`;
        return `  {\n    "partition" : ${this.#partition},\n    "rows" : ${rows}\n  }`;
      }
    }
  }

  #start({ key, deletion }: PartitionStart): string {
    const types = this.#header.keyTypes;
    const parts = splitPartitionKey(key, types.length).map((part, index) =>
      JSON.stringify(keyText(types[index]!, part)),
    );
    const fields = [`"key" : [ ${parts.join(', ')} ]`];
    if (deletion) fields.push(this.#deletion(deletion));
    return object(fields);
  }

  #row(row: Row): string {
    const { liveness, deletion } = row;
    const fields = [`"type" : "${row.isStatic ? 'static_block' : 'row'}"`];
    if (row.clustering.length > 0) fields.push(this.#clustering(row.clustering));
    if (liveness) {
      const info = [`"tstamp" : ${this.#time(liveness.timestampMicros)}`];
      if (liveness.ttlSeconds > 0) info.push(...this.#expiry(liveness.ttlSeconds, liveness.expiresAtSeconds));
      fields.push(`"liveness_info" : ${object(info)}`);
    }
    if (deletion) fields.push(this.#deletion(deletion));
    const columns = row.isStatic ? this.#header.staticColumns : this.#header.regularColumns;
    const cells = row.columns.flatMap((data) => this.#column(columns[data.column]!, data, row));
    const list = cells.length === 0 ? '[ ]' : `[\n          ${cells.join(',\n          ')}\n        ]`;
    fields.push(`"cells" : ${list}`);
    return `{\n        ${fields.join(',\n        ')}\n      }`;
  }

  #column(column: ColumnDefinition, data: ColumnData, row: Row): string[] {
    const texts: string[] = [];
    const name = `"name" : ${JSON.stringify(quoteIdentifier(column.name))}`;
    if (data.deletion) texts.push(object([name, this.#deletion(data.deletion)]));
    for (const cell of data.cells) texts.push(this.#cell(name, column.type, cell, row));
    return texts;
  }

  #cell(name: string, type: CqlType, cell: Cell, { liveness }: Row): string {
    const fields = [name];
    if (cell.path) fields.push(`"path" : [ ${JSON.stringify(pathText(type, cell.path))} ]`);
    if (cell.isTombstone) {
      fields.push(`"deletion_info" : { "local_delete_time" : ${this.#seconds(cell.localDeletionTimeSeconds)} }`);
    } else {
      fields.push(`"value" : ${valueText(type, cell)}`);
    }
    if (cell.timestampMicros !== liveness?.timestampMicros)
      fields.push(`"tstamp" : ${this.#time(cell.timestampMicros)}`);
    if (cell.ttlSeconds > 0 && !cell.isTombstone && cell.ttlSeconds !== liveness?.ttlSeconds) {
      fields.push(...this.#expiry(cell.ttlSeconds, cell.localDeletionTimeSeconds));
    }
    return object(fields);
  }

  #marker(marker: RangeTombstoneMarker): string {
    const { bound, closes, opens } = marker;
    const isBoundary = closes !== undefined && opens !== undefined;
    const fields = [`"type" : "range_tombstone_${isBoundary ? 'boundary' : 'bound'}"`];
    const side = (isInclusive: boolean, deletion: Deletion): string => {
      const parts = [`"type" : "${isInclusive ? 'inclusive' : 'exclusive'}"`];
      if (marker.clustering.length > 0) parts.push(this.#clustering(marker.clustering, '"*"'));
      return object([...parts, this.#deletion(deletion)]);
    };
    if (opens) {
      const isInclusive = bound === BoundKind.InclusiveStart || bound === BoundKind.ExclusiveEndInclusiveStartBoundary;
      fields.push(`"start" : ${side(isInclusive, opens)}`);
    }
    if (closes) {
      const isInclusive = bound === BoundKind.InclusiveEnd || bound === BoundKind.InclusiveEndExclusiveStartBoundary;
      fields.push(`"end" : ${side(isInclusive, closes)}`);
    }
    return object(fields);
  }

  /** @param missing stands for the values that a prefix does not have */
  #clustering(values: readonly (Uint8Array | null)[], missing?: string): string {
    const types = this.#header.clusteringTypes;
    const texts = values.map((value, index) => renderValue(types[index]!, value));
    if (missing) while (texts.length < types.length) texts.push(missing);
    return `"clustering" : [ ${texts.join(', ')} ]`;
  }

  #deletion({ timestampMicros, localDeletionTimeSeconds }: Deletion): string {
    const info = object([
      `"marked_deleted" : ${this.#time(timestampMicros)}`,
      `"local_delete_time" : ${this.#seconds(localDeletionTimeSeconds)}`,
    ]);
    return `"deletion_info" : ${info}`;
  }

  #expiry(ttlSeconds: number, expiresAtSeconds: number): string[] {
    return [
      `"ttl" : ${ttlSeconds}`,
      `"expires_at" : ${this.#seconds(expiresAtSeconds)}`,
      `"expired" : ${expiresAtSeconds <= this.#options.nowSeconds}`,
    ];
  }

  #time(micros: bigint): string {
    return this.#options.rawTimestamps ? `"${micros}"` : `"${instantText(micros)}"`;
  }

  #seconds(value: number): string {
    if (value === NO_DELETION_TIME) return 'null';
    return this.#options.rawTimestamps ? `"${value}"` : `"${instantText(BigInt(value) * 1_000_000n)}"`;
  }
}

function valueText(type: CqlType, cell: Cell): string {
  switch (type.kind) {
    case 'set':
      return type.frozen ? renderValue(type, cell.value) : '""';
    case 'list':
      return renderValue(type.frozen ? type : type.element, cell.value);
    case 'map':
      return renderValue(type.frozen ? type : type.value, cell.value);
    case 'udt': {
      const field = cell.path && type.fields[fieldIndex(cell.path)];
      return renderValue(field ? field.type : type, cell.value);
    }
    case 'native':
      if (type.name === 'counter') return counterTotal(cell.value).toString();
      return renderValue(type, cell.value);
    default:
      return renderValue(type, cell.value);
  }
}

function pathText(type: CqlType, path: Uint8Array): string {
  if (type.kind === 'list') return renderPlain({ kind: 'native', name: 'timeuuid' }, path);
  if (type.kind === 'set') return keyText(type.element, path);
  if (type.kind === 'map') return keyText(type.key, path);
  if (type.kind === 'udt') return type.fields[fieldIndex(path)]?.name ?? `field ${fieldIndex(path)}`;
  return renderPlain({ kind: 'native', name: 'blob' }, path);
}

function fieldIndex(path: Uint8Array): number {
  return new ByteReader(path).readUint16();
}

/** Keys and paths are shown as AbstractType#getString does: blobs without 0x. */
function keyText(type: CqlType, bytes: Uint8Array): string {
  const text = renderPlain(type, bytes);
  return type.kind === 'native' && type.name === 'blob' ? text.slice(2) : text;
}

function object(fields: readonly string[]): string {
  return `{ ${fields.join(', ')} }`;
}
