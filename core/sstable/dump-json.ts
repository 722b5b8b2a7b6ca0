import type { CqlType } from '#core/model/cql-type.ts';
import { renderValue } from '#core/model/render-value.ts';
import {
  BoundKind,
  type Cell,
  type Clustering,
  type Deletion,
  type MultiCell,
  NO_DELETION_TIME,
  type PartitionEvent,
  type PartitionStart,
  type RangeTombstoneMarker,
  type Row,
} from '#core/model/row.ts';
import { type ColumnDefinition, quoteIdentifier } from '#core/model/table-schema.ts';
import type { DumpOptions } from './dump-options.ts';
import { dumpInstant, keyTexts, pathText, valueJson } from './dump-values.ts';
import type { SerializationHeader } from './serialization-header.ts';

/** White space of a document, and of a line for each partition. */
const WIDE = { colon: ' : ', comma: ', ', open: '{ ', close: ' }', listOpen: '[ ', listClose: ' ]' } as const;
const TIGHT = { colon: ':', comma: ',', open: '{', close: '}', listOpen: '[', listClose: ']' } as const;

/** Writes events as sstabledump's JSON. */
export class DumpWriter {
  readonly #header: SerializationHeader;
  readonly #options: DumpOptions;
  readonly #isTight: boolean;
  readonly #space: typeof WIDE | typeof TIGHT;
  /** Partitions begun, and rows of the current one. */
  #partitions = 0;
  #rows = 0;
  /** What has to wait for the position of what follows it. */
  #start: { readonly event: PartitionStart; readonly position: number } | undefined;
  #staticRow: Row | undefined;

  constructor(header: SerializationHeader, options: DumpOptions) {
    this.#header = header;
    this.#options = options;
    this.#isTight = options.form === 'lines';
    this.#space = this.#isTight ? TIGHT : WIDE;
  }

  /**
   * The text that can be printed by now.
   * @param position where the event begins in Data.db
   */
  write(event: PartitionEvent, position: number): string {
    if (event.kind === 'partition') {
      if (this.#options.form === 'keys') return this.#separated(this.#key(event));
      this.#start = { event, position };
      return '';
    }
    if (this.#options.form === 'keys') return '';
    if (event.kind === 'row' && event.isStatic) {
      this.#staticRow = event;
      return '';
    }
    const head = this.#head(position);
    if (event.kind === 'end') return head + this.#partitionEnd();
    return head + this.#listed(event.kind === 'row' ? this.#row(event, position) : this.#marker(event));
  }

  end(): string {
    if (this.#isTight) return '';
    return this.#partitions === 0 ? '[ ]\n' : '\n]\n';
  }

  /** The partition and its static row: sstabledump gives both the position of what comes next (4.1: the latter only). */
  #head(next: number): string {
    let text = '';
    if (this.#start) {
      const { event, position } = this.#start;
      this.#start = undefined;
      this.#rows = 0;
      text = this.#separated(this.#partitionStart(event, this.#options.release === '5.0' ? next : position));
    }
    if (this.#staticRow) {
      text += this.#listed(this.#row(this.#staticRow, next));
      this.#staticRow = undefined;
    }
    return text;
  }

  #separated(text: string): string {
    const isFirst = this.#partitions++ === 0;
    if (this.#isTight) return text;
    return (isFirst ? '[\n  ' : ',\n  ') + text;
  }

  #listed(text: string): string {
    const isFirst = this.#rows++ === 0;
    if (this.#isTight) return isFirst ? text : `,${text}`;
    return (isFirst ? '\n      ' : ',\n      ') + text;
  }

  #partitionStart(event: PartitionStart, position: number): string {
    const fields = [this.#field('key', this.#key(event)), this.#field('position', String(position))];
    if (event.deletion) fields.push(this.#deletion(event.deletion));
    const kind = this.#options.release === '5.0' ? [this.#field('table kind', '"REGULAR"')] : [];
    const outer = [...kind, this.#field('partition', this.#object(fields)), `${this.#field('rows', '[')}`];
    return this.#isTight ? `{${outer.join(',')}` : `{\n    ${outer.join(',\n    ')}`;
  }

  #partitionEnd(): string {
    if (this.#isTight) return ']}\n';
    return this.#rows === 0 ? ' ]\n  }' : '\n    ]\n  }';
  }

  #key({ key }: PartitionStart): string {
    return this.#list(keyTexts(this.#header.keyTypes, key).map((text) => JSON.stringify(text)));
  }

  #row(row: Row, position: number): string {
    const { liveness, deletion } = row;
    const fields = [
      this.#field('type', row.isStatic ? '"static_block"' : '"row"'),
      this.#field('position', String(position)),
    ];
    if (row.clustering.length > 0) fields.push(this.#clustering(row.clustering));
    if (liveness) {
      const info = [this.#field('tstamp', this.#time(liveness.timestampMicros))];
      if (liveness.ttlSeconds > 0) info.push(...this.#expiry(liveness.ttlSeconds, liveness.expiresAtSeconds));
      fields.push(this.#field('liveness_info', this.#object(info)));
    }
    if (deletion) fields.push(this.#deletion(deletion));
    const columns = row.isStatic ? this.#header.staticColumns : this.#header.regularColumns;
    const cells = row.cells.map((cell) =>
      this.#cell(this.#name(columns[cell.column]!), columns[cell.column]!.type, cell, row),
    );
    for (const data of row.multiCells) cells.push(...this.#multiCell(columns[data.column]!, data, row));
    const lines = cells.length === 0 || this.#isTight ? this.#list(cells) : indentedList(cells);
    fields.push(this.#field('cells', lines));
    return this.#isTight ? this.#object(fields) : `{\n        ${fields.join(',\n        ')}\n      }`;
  }

  #multiCell(column: ColumnDefinition, data: MultiCell, row: Row): string[] {
    const texts: string[] = [];
    const name = this.#name(column);
    if (data.deletion) texts.push(this.#object([name, this.#deletion(data.deletion)]));
    for (const cell of data.cells) texts.push(this.#cell(name, column.type, cell, row));
    return texts;
  }

  #cell(name: string, type: CqlType, cell: Cell, { liveness }: Row): string {
    const fields = [name];
    const { path } = cell;
    if (path) fields.push(this.#field('path', this.#list([JSON.stringify(pathText(type, path))])));
    if (cell.isTombstone) {
      const made = this.#field('local_delete_time', this.#seconds(cell.localDeletionTimeSeconds));
      fields.push(this.#field('deletion_info', this.#object([made])));
    } else {
      fields.push(this.#field('value', valueJson(type, cell, this.#options.counterTotals ?? false)));
    }
    if (cell.timestampMicros !== liveness?.timestampMicros)
      fields.push(this.#field('tstamp', this.#time(cell.timestampMicros)));
    if (cell.ttlSeconds > 0 && !cell.isTombstone && cell.ttlSeconds !== liveness?.ttlSeconds) {
      fields.push(...this.#expiry(cell.ttlSeconds, cell.localDeletionTimeSeconds));
    }
    return this.#object(fields);
  }

  #marker(marker: RangeTombstoneMarker): string {
    const { bound, closes, opens } = marker;
    const isBoundary = closes !== undefined && opens !== undefined;
    const fields = [this.#field('type', `"range_tombstone_${isBoundary ? 'boundary' : 'bound'}"`)];
    const side = (isInclusive: boolean, deletion: Deletion): string => {
      const parts = [this.#field('type', isInclusive ? '"inclusive"' : '"exclusive"')];
      if (marker.clustering.length > 0) parts.push(this.#clustering(marker.clustering, '"*"'));
      return this.#object([...parts, this.#deletion(deletion)]);
    };
    if (opens) {
      const isInclusive = bound === BoundKind.InclusiveStart || bound === BoundKind.ExclusiveEndInclusiveStartBoundary;
      fields.push(this.#field('start', side(isInclusive, opens)));
    }
    if (closes) {
      const isInclusive = bound === BoundKind.InclusiveEnd || bound === BoundKind.InclusiveEndExclusiveStartBoundary;
      fields.push(this.#field('end', side(isInclusive, closes)));
    }
    return this.#object(fields);
  }

  /** @param missing stands for the values that a prefix does not have */
  #clustering(clustering: Clustering, missing?: string): string {
    const types = this.#header.clusteringTypes;
    const texts = clustering.values().map((value, index) => renderValue(types[index]!, value));
    if (missing) while (texts.length < types.length) texts.push(missing);
    return this.#field('clustering', this.#list(texts));
  }

  #deletion({ timestampMicros, localDeletionTimeSeconds }: Deletion): string {
    const info = [
      this.#field('marked_deleted', this.#time(timestampMicros)),
      this.#field('local_delete_time', this.#seconds(localDeletionTimeSeconds)),
    ];
    return this.#field('deletion_info', this.#object(info));
  }

  #expiry(ttlSeconds: number, expiresAtSeconds: number): string[] {
    return [
      this.#field('ttl', String(ttlSeconds)),
      this.#field('expires_at', this.#seconds(expiresAtSeconds)),
      this.#field('expired', String(expiresAtSeconds <= this.#options.nowSeconds)),
    ];
  }

  #time(micros: bigint): string {
    return this.#options.rawTimestamps ? `"${micros}"` : `"${dumpInstant(micros)}"`;
  }

  #seconds(value: number): string {
    if (value === NO_DELETION_TIME) return 'null';
    return this.#options.rawTimestamps ? `"${value}"` : `"${dumpInstant(BigInt(value) * 1_000_000n)}"`;
  }

  #name(column: ColumnDefinition): string {
    return this.#field('name', JSON.stringify(quoteIdentifier(column.name)));
  }

  #field(name: string, json: string): string {
    return `"${name}"${this.#space.colon}${json}`;
  }

  #object(fields: readonly string[]): string {
    return this.#space.open + fields.join(this.#space.comma) + this.#space.close;
  }

  #list(texts: readonly string[]): string {
    if (texts.length === 0) return this.#isTight ? '[]' : '[ ]';
    return this.#space.listOpen + texts.join(this.#space.comma) + this.#space.listClose;
  }
}

function indentedList(texts: readonly string[]): string {
  return `[\n          ${texts.join(',\n          ')}\n        ]`;
}
