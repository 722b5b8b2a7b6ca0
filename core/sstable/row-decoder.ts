import { type ByteReader, EndOfBytesError, MalformedBytesError } from '#core/bytes/byte-reader.ts';
import {
  BoundKind,
  Cell,
  type Clustering,
  type Deletion,
  type Liveness,
  type MultiCell,
  NO_CLUSTERING,
  NO_DELETION_TIME,
  type RangeTombstoneMarker,
  type Row,
} from '#core/model/row.ts';
import { VARIABLE_LENGTH } from '#core/model/value-length.ts';
import { readClusteringValues } from './clustering.ts';
import type { ColumnPlan, PlannedColumn } from './column-plan.ts';
import { ColumnSubsets } from './column-subset.ts';
import type { DeltaReader } from './delta-reader.ts';

const RowFlag = {
  EndOfPartition: 0x01,
  IsMarker: 0x02,
  HasTimestamp: 0x04,
  HasTtl: 0x08,
  HasDeletion: 0x10,
  HasAllColumns: 0x20,
  HasComplexDeletion: 0x40,
  IsExtended: 0x80,
} as const;
const IS_STATIC = 0x01;
const KNOWN_EXTENDED_FLAGS = 0x03;

const CellFlag = {
  IsDeleted: 0x01,
  IsExpiring: 0x02,
  HasEmptyValue: 0x04,
  UseRowTimestamp: 0x08,
  UseRowTtl: 0x10,
} as const;
const KNOWN_CELL_FLAGS = 0x1f;

/** Flags of most cells: live, and written with their row. */
const LIVE_WITH_ROW = CellFlag.UseRowTimestamp;
const NO_MULTI_CELLS: readonly MultiCell[] = [];

/** Between rows of a partition: the end of it, or nothing to tell (a row that holds dropped columns only). */
export type Unfiltered = Row | RangeTombstoneMarker | 'end' | 'nothing';

/**
 * Decodes what stands between the head of a partition and its end. Holds no position of its own: a call that runs out
 * of bytes throws EndOfBytesError and can be repeated from the same start with more of them.
 *
 * @see org.apache.cassandra.db.rows.UnfilteredSerializer
 */
export class RowDecoder {
  readonly #deltas: DeltaReader;
  readonly #clusteringLengths: readonly number[];
  readonly #static: ColumnPlan;
  readonly #regular: ColumnPlan;
  readonly #staticSubsets: ColumnSubsets;
  readonly #regularSubsets: ColumnSubsets;

  constructor(
    deltas: DeltaReader,
    clusteringLengths: readonly number[],
    staticColumns: ColumnPlan,
    regularColumns: ColumnPlan,
  ) {
    this.#deltas = deltas;
    this.#clusteringLengths = clusteringLengths;
    this.#static = staticColumns;
    this.#regular = regularColumns;
    this.#staticSubsets = new ColumnSubsets(staticColumns.columns.length);
    this.#regularSubsets = new ColumnSubsets(regularColumns.columns.length);
  }

  /**
   * ```
   * u8 flags  [0x80: u8 extended flags]
   * row:    [not static: clustering values]  vint bodySize  body
   * marker: u8 kind  u16 n  n clustering values  vint bodySize  body
   * ```
   * @param isStatic the file says that a static row must be here
   * @param skip move over it without decoding its body
   */
  read(reader: ByteReader, isStatic: boolean, skip: boolean): Unfiltered {
    const start = reader.offset;
    const flags = reader.readUint8();
    if ((flags & RowFlag.EndOfPartition) !== 0) {
      if (isStatic) throw new MalformedBytesError(start, 'the static row is missing');
      return 'end';
    }
    if ((flags & RowFlag.IsMarker) !== 0) return this.#readMarker(reader, skip);
    const extended = (flags & RowFlag.IsExtended) === 0 ? 0 : reader.readUint8();
    if ((extended & ~KNOWN_EXTENDED_FLAGS) !== 0 || ((extended & IS_STATIC) !== 0) !== isStatic) {
      throw new MalformedBytesError(start, `extended row flags ${extended} can not be here`);
    }
    const lengths = this.#clusteringLengths;
    const clustering = isStatic ? NO_CLUSTERING : readClusteringValues(reader, lengths, lengths.length);
    const bodyEnd = readBodyEnd(reader);
    if (skip) {
      reader.offset = bodyEnd;
      return 'nothing';
    }
    reader.readVint(); // size of the previous unfiltered
    const row = this.#readBody(reader, flags, isStatic, clustering);
    if (reader.offset !== bodyEnd) {
      throw new MalformedBytesError(start, `a row ends at ${reader.offset} that should end at ${bodyEnd}`);
    }
    return row ?? 'nothing';
  }

  /**
   * ```
   * [0x04] ts  [0x08] ttl, ldt  [0x10] deletion  [not 0x20] column subset
   * for each present column: cell, or for a multi-cell one: [0x40: deletion]  vint n  n × cell
   * ```
   */
  #readBody(reader: ByteReader, flags: number, isStatic: boolean, clustering: Clustering): Row | undefined {
    const deltas = this.#deltas;
    let liveness: Liveness | undefined;
    if ((flags & RowFlag.HasTimestamp) !== 0) {
      const timestampMicros = deltas.readTimestamp(reader);
      let ttlSeconds = 0;
      let expiresAtSeconds = NO_DELETION_TIME;
      if ((flags & RowFlag.HasTtl) !== 0) {
        ttlSeconds = deltas.readTtl(reader);
        expiresAtSeconds = deltas.readLocalDeletionTime(reader);
      }
      liveness = { timestampMicros, ttlSeconds, expiresAtSeconds };
    }
    const deletion = (flags & RowFlag.HasDeletion) === 0 ? undefined : deltas.readDeletion(reader);
    const plan = isStatic ? this.#static : this.#regular;
    const subsets = isStatic ? this.#staticSubsets : this.#regularSubsets;
    const present = (flags & RowFlag.HasAllColumns) === 0 ? subsets.read(reader) : undefined;
    const count = present === undefined ? plan.columns.length : present.length;
    // Of the right size at once: growing arrays cost more than the cells' bytes.
    const cells = new Array<Cell>(Math.min(count, plan.simpleCount));
    let cellCount = 0;
    let multiCells = NO_MULTI_CELLS as MultiCell[];
    for (let index = 0; index < count; index++) {
      const column = plan.columns[present === undefined ? index : present[index]!]!;
      if (column.isMultiCell) {
        const data = this.#readMultiCell(reader, column, (flags & RowFlag.HasComplexDeletion) !== 0, liveness);
        if (data === undefined || column.target < 0) continue;
        if (multiCells === NO_MULTI_CELLS) multiCells = [];
        multiCells.push(data);
      } else {
        const cell =
          liveness !== undefined && reader.bytes[reader.offset] === LIVE_WITH_ROW
            ? readLiveCell(reader, column, liveness.timestampMicros)
            : this.#readCell(reader, column, liveness);
        if (column.target >= 0) cells[cellCount++] = cell;
      }
    }
    if (cellCount !== cells.length) cells.length = cellCount;
    if (!plan.isOrdered) {
      cells.sort((a, b) => a.column - b.column);
      multiCells.sort((a, b) => a.column - b.column);
    }
    if (liveness === undefined && deletion === undefined && cells.length + multiCells.length === 0) return undefined;
    return { kind: 'row', isStatic, clustering, liveness, deletion, cells, multiCells };
  }

  #readMultiCell(
    reader: ByteReader,
    column: PlannedColumn,
    hasDeletion: boolean,
    liveness: Liveness | undefined,
  ): MultiCell | undefined {
    const deletion: Deletion | undefined = hasDeletion ? this.#deltas.readDeletion(reader) : undefined;
    const count = reader.readVint();
    // Each cell takes two bytes or more: a larger count is a lie, or goes beyond this window.
    if (count * 2 > reader.remaining) throw new EndOfBytesError(reader.offset, count * 2, reader.limit);
    const cells: Cell[] = [];
    for (let index = 0; index < count; index++) cells.push(this.#readCell(reader, column, liveness));
    return deletion === undefined && count === 0 ? undefined : { column: column.target, deletion, cells };
  }

  /**
   * ```
   * u8 flags  [not 0x08] ts  [(0x01 or 0x02) and not 0x10] ldt  [0x02 and not 0x10] ttl
   * [multi-cell] bytesV path  [not 0x04] value
   * ```
   * ldt stands before ttl here, after it in a row's liveness.
   *
   * @see org.apache.cassandra.db.rows.Cell.Serializer
   */
  #readCell(reader: ByteReader, column: PlannedColumn, liveness: Liveness | undefined): Cell {
    const flags = reader.readUint8();
    if (flags > KNOWN_CELL_FLAGS) throw new MalformedBytesError(reader.offset - 1, `cell flags ${flags} are not known`);
    if ((flags & (CellFlag.UseRowTimestamp | CellFlag.UseRowTtl)) !== 0 && liveness === undefined) {
      throw new MalformedBytesError(reader.offset - 1, 'a cell takes its time from a row that has none');
    }
    const timestampMicros =
      (flags & CellFlag.UseRowTimestamp) !== 0 ? liveness!.timestampMicros : this.#deltas.readTimestamp(reader);
    let localDeletionTimeSeconds = NO_DELETION_TIME;
    let ttlSeconds = 0;
    if ((flags & CellFlag.UseRowTtl) !== 0) {
      localDeletionTimeSeconds = liveness!.expiresAtSeconds;
      ttlSeconds = liveness!.ttlSeconds;
    } else if ((flags & (CellFlag.IsDeleted | CellFlag.IsExpiring)) !== 0) {
      localDeletionTimeSeconds = this.#deltas.readLocalDeletionTime(reader);
      if ((flags & CellFlag.IsExpiring) !== 0) ttlSeconds = this.#deltas.readTtl(reader);
    }
    let pathStart = -1;
    let pathEnd = -1;
    if (column.isMultiCell) {
      pathStart = reader.skip(reader.readVint());
      pathEnd = reader.offset;
    }
    const valueStart =
      (flags & CellFlag.HasEmptyValue) !== 0
        ? reader.offset
        : reader.skip(column.valueBytes === VARIABLE_LENGTH ? reader.readVint() : column.valueBytes);
    return new Cell(
      column.target,
      timestampMicros,
      ttlSeconds,
      localDeletionTimeSeconds,
      (flags & CellFlag.IsDeleted) !== 0,
      reader.bytes,
      valueStart,
      reader.offset,
      pathStart,
      pathEnd,
    );
  }

  /** Body of a bound: one deletion. Of a boundary: that of the range which ends, then of the one which starts. */
  #readMarker(reader: ByteReader, skip: boolean): RangeTombstoneMarker | 'nothing' {
    const start = reader.offset - 1;
    const kind = reader.readUint8();
    if (!BOUND_KINDS.has(kind)) throw new MalformedBytesError(start, `the bound kind ${kind} is not known`);
    const bound = kind as BoundKind;
    const clustering = readClusteringValues(reader, this.#clusteringLengths, reader.readUint16());
    const bodyEnd = readBodyEnd(reader);
    if (skip) {
      reader.offset = bodyEnd;
      return 'nothing';
    }
    reader.readVint(); // size of the previous unfiltered
    const first = this.#deltas.readDeletion(reader);
    const isBoundary =
      bound === BoundKind.ExclusiveEndInclusiveStartBoundary || bound === BoundKind.InclusiveEndExclusiveStartBoundary;
    const second = isBoundary ? this.#deltas.readDeletion(reader) : undefined;
    if (reader.offset !== bodyEnd || first === undefined || (isBoundary && second === undefined)) {
      throw new MalformedBytesError(start, `a range tombstone's marker does not end at ${bodyEnd}, or deletes nothing`);
    }
    const isStart = bound === BoundKind.InclusiveStart || bound === BoundKind.ExclusiveStart;
    const closes = isStart ? undefined : first;
    const opens = isStart ? first : second;
    return { kind: 'marker', bound, clustering, closes, opens };
  }
}

const BOUND_KINDS: ReadonlySet<number> = new Set(Object.values(BoundKind));

/** A cell of a simple column whose flags, at the reader's offset, are LIVE_WITH_ROW: only its value follows. */
function readLiveCell(reader: ByteReader, column: PlannedColumn, timestampMicros: bigint): Cell {
  const bytes = reader.bytes;
  let start = reader.offset + 1;
  let length = column.valueBytes;
  if (length === VARIABLE_LENGTH) {
    length = bytes[start++]!;
    if (!(length < 0x80)) {
      reader.offset = start - 1;
      length = reader.readVint();
      start = reader.offset;
    }
  }
  const end = start + length;
  if (end > reader.limit) throw new EndOfBytesError(start, length, reader.limit);
  reader.offset = end;
  return new Cell(column.target, timestampMicros, 0, NO_DELETION_TIME, false, bytes, start, end, -1, -1);
}

/** vint bodySize, counted from behind itself. The whole body must be there before any of it is decoded. */
function readBodyEnd(reader: ByteReader): number {
  const size = reader.readVint();
  const end = reader.offset + size;
  if (end > reader.limit) throw new EndOfBytesError(reader.offset, size, reader.limit);
  return end;
}
