import type { CqlType } from '#core/model/cql-type.ts';
import { renderPlain, renderValue } from '#core/model/render-value.ts';
import {
  BoundKind,
  type Cell,
  type Clustering,
  type Deletion,
  NO_DELETION_TIME,
  type PartitionEvent,
  type PartitionStart,
  type RangeTombstoneMarker,
  type Row,
} from '#core/model/row.ts';
import { counterTotal } from './counter-context.ts';
import type { DumpOptions } from './dump-options.ts';
import { joinKey, keyTexts, pathText } from './dump-values.ts';
import type { SerializationHeader } from './serialization-header.ts';

const BOUND_NAMES: ReadonlyMap<BoundKind, string> = new Map([
  [BoundKind.ExclusiveEnd, 'EXCL_END_BOUND'],
  [BoundKind.InclusiveStart, 'INCL_START_BOUND'],
  [BoundKind.ExclusiveEndInclusiveStartBoundary, 'EXCL_END_INCL_START_BOUNDARY'],
  [BoundKind.InclusiveEndExclusiveStartBoundary, 'INCL_END_EXCL_START_BOUNDARY'],
  [BoundKind.InclusiveEnd, 'INCL_END_BOUND'],
  [BoundKind.ExclusiveStart, 'EXCL_START_BOUND'],
]);
/** What Cassandra keeps as the write time of a row without a marker. */
const NO_TIMESTAMP = -(2n ** 63n);

/**
 * Writes a line for each row, deletion and marker in Cassandra's internal form, as `sstabledump -d`. User types are
 * written as JSON: sstabledump fails on them.
 *
 * @see org.apache.cassandra.db.rows.AbstractRow#toString, .RangeTombstoneBoundMarker#toString
 */
export class RowLines {
  readonly #header: SerializationHeader;
  readonly #options: DumpOptions;
  #start: { readonly event: PartitionStart; readonly position: number } | undefined;
  #staticRow: Row | undefined;
  #key = '';

  constructor(header: SerializationHeader, options: DumpOptions) {
    this.#header = header;
    this.#options = options;
  }

  /**
   * The lines that can be printed by now.
   * @param position where the event begins in Data.db
   */
  write(event: PartitionEvent, position: number): string {
    if (event.kind === 'partition') {
      this.#key = `[${joinKey(keyTexts(this.#header.keyTypes, event.key))}]@`;
      this.#start = { event, position };
      return '';
    }
    if (event.kind === 'row' && event.isStatic) {
      this.#staticRow = event;
      return '';
    }
    const [head, shown] = this.#head(position);
    if (event.kind === 'end') return head;
    return `${head}${this.#key}${shown} ${event.kind === 'row' ? this.#row(event) : this.#marker(event)}\n`;
  }

  end(): string {
    return '';
  }

  /** Lines of the partition and its static row; and the position to show for what follows. */
  #head(next: number): [text: string, shown: number] {
    if (!this.#start) return ['', next];
    const { event, position } = this.#start;
    this.#start = undefined;
    // The first row still has the position of its partition.
    const shown = this.#options.release === '5.0' ? next : position;
    let text = event.deletion ? `${this.#key}${shown} ${deletionText(event.deletion)}\n` : '';
    if (this.#staticRow) text += `${this.#key}${shown} ${this.#row(this.#staticRow)}\n`;
    this.#staticRow = undefined;
    return [text, shown];
  }

  #row(row: Row): string {
    const { liveness, deletion } = row;
    let info = `ts=${liveness?.timestampMicros ?? NO_TIMESTAMP}`;
    if (liveness && liveness.ttlSeconds > 0) info += ` ttl=${liveness.ttlSeconds}, let=${liveness.expiresAtSeconds}`;
    const deleted = deletion ? ` del=${deletionText(deletion)}` : '';
    const clustering = row.isStatic ? 'STATIC' : this.#clustering(row.clustering, clusteringLiteral);
    const columns = row.isStatic ? this.#header.staticColumns : this.#header.regularColumns;
    const texts = row.cells.map((cell) => {
      const { name, type } = columns[cell.column]!;
      return cellText(name, cell, () => valueText(type, cell.value));
    });
    for (const { column, deletion: dropped, cells } of row.multiCells) {
      const { name, type } = columns[column]!;
      let text = dropped ? `del(${name})=${deletionText(dropped)}` : '';
      for (const cell of cells) {
        const path = pathText(type, cell.path!);
        text += `, ${cellText(`${name}[${path}]`, cell, () => elementText(type, cell.value))}`;
      }
      texts.push(text);
    }
    return `Row[info=[${info}]${deleted} ]: ${clustering} | ${texts.join(', ')}`;
  }

  #marker({ bound, clustering, closes, opens }: RangeTombstoneMarker): string {
    const times = [closes, opens].filter((each) => each !== undefined);
    const text = times.map((each) => `${each.timestampMicros}/${each.localDeletionTimeSeconds}`).join('-');
    return `Marker ${BOUND_NAMES.get(bound)}(${this.#clustering(clustering, valueText)})@${text}`;
  }

  #clustering(clustering: Clustering, render: (type: CqlType, bytes: Uint8Array, release: string) => string): string {
    const texts = clustering.values().map((value, index) => {
      return value === null ? 'null' : render(this.#header.clusteringTypes[index]!, value, this.#options.release);
    });
    return texts.join(', ');
  }
}

function cellText(name: string, cell: Cell, value: () => string): string {
  const time = `ts=${cell.timestampMicros}`;
  if (cell.isTombstone) return `[${name}=<tombstone> ${time} ldt=${cell.localDeletionTimeSeconds}]`;
  const expiry = cell.ttlSeconds > 0 ? ` ttl=${cell.ttlSeconds} ldt=${cell.localDeletionTimeSeconds}` : '';
  return `[${name}=${value()} ${time}${expiry}]`;
}

function deletionText({ timestampMicros, localDeletionTimeSeconds }: Deletion): string {
  const seconds = localDeletionTimeSeconds === NO_DELETION_TIME ? 0x7fffffff : localDeletionTimeSeconds;
  return `deletedAt=${timestampMicros}, localDeletion=${seconds}`;
}

/** A value of an element of a multi-cell column. */
function elementText(type: CqlType, bytes: Uint8Array): string {
  if (type.kind === 'list') return valueText(type.element, bytes);
  if (type.kind === 'map') return valueText(type.value, bytes);
  return type.kind === 'udt' ? hex(bytes) : '';
}

/** AbstractType#getString: plain for native types, the bytes of collections and vectors. */
function valueText(type: CqlType, bytes: Uint8Array): string {
  switch (type.kind) {
    case 'native':
      if (bytes.length === 0) return '';
      if (type.name === 'blob') return hex(bytes);
      if (type.name === 'timestamp') return renderPlain(type, bytes).replace(' ', 'T');
      if (type.name === 'counter') return counterTotal(bytes).toString();
      if (type.name === 'float' || type.name === 'double') return floatText(type, bytes);
      return renderPlain(type, bytes);
    case 'list':
    case 'set':
    case 'map':
    case 'vector':
      return hex(bytes);
    default:
      return renderValue(type, bytes);
  }
}

/** NaN and the infinities, for which JSON has no word. */
function floatText(type: CqlType, bytes: Uint8Array): string {
  const text = renderPlain(type, bytes);
  if (text !== 'null') return text;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return String(bytes.length === 4 ? view.getFloat32(0) : view.getFloat64(0));
}

/** 4.1 quotes the texts, 5.0 whatever CQL quotes. */
function clusteringLiteral(type: CqlType, bytes: Uint8Array, release: string): string {
  if (type.kind !== 'native') return renderValue(type, bytes, 'cql');
  const isText = type.name === 'text' || type.name === 'ascii';
  if (type.name === 'blob') return `0x${hex(bytes)}`;
  if (bytes.length === 0 && !isText) return '';
  const text = valueText(type, bytes);
  const isQuoted = isText || (release === '5.0' && renderValue(type, bytes, 'cql').startsWith("'"));
  return isQuoted ? `'${text.replaceAll("'", "''")}'` : text;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
