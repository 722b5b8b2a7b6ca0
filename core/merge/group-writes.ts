/**
 * Merged rows → the fewest writes that leave the target as the origin is: one INSERT or UPDATE for each (timestamp,
 * expiry) of a row. INSERT stands only where the origin has a row marker, so that a row made by UPDATE still vanishes
 * with its last cell.
 */

import type { CqlType } from '../model/cql-type.ts';
import {
  BoundKind,
  type Cell,
  type Deletion,
  type MultiCell,
  NO_DELETION_TIME,
  type PartitionEvent,
  type RangeTombstoneMarker,
  type Row,
} from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { encodeCollection, encodeFields } from './collection-bytes.ts';
import { addList } from './group-lists.ts';
import type { GroupingOptions } from './grouping-options.ts';
import { type RangeEnd, rangeDeletes } from './range-deletes.ts';
import { isExpiredMarker } from './reconcile.ts';
import { type Assignment, type Write, writtenAt } from './writes.ts';

/** Takes the events of merged partitions one by one and gives the writes of each. */
export function createGrouping(schema: TableSchema, options: GroupingOptions): (event: PartitionEvent) => Write[] {
  let start: RangeEnd | undefined;
  return (event) => {
    switch (event.kind) {
      case 'partition': {
        start = undefined;
        const { deletion } = event;
        if (deletion === undefined || !options.keepsTombstone(deletion.timestampMicros)) return [];
        return [{ kind: 'deletePartition', ...deletion }];
      }
      case 'row':
        return groupRow(event, schema, options);
      case 'marker': {
        const opened = start;
        start =
          event.opens === undefined ? undefined : { clustering: event.clustering, inclusive: startsInside(event) };
        const { closes } = event;
        if (closes === undefined || opened === undefined || !options.keepsTombstone(closes.timestampMicros)) return [];
        return rangeDeletes(schema, opened, { clustering: event.clustering, inclusive: endsInside(event) }, closes);
      }
      case 'end':
        return [];
    }
  };
}

// At one position either the range that starts there or the one that ends there holds the rows of the prefix.
function startsInside(marker: RangeTombstoneMarker): boolean {
  return marker.bound === BoundKind.InclusiveStart || marker.bound === BoundKind.ExclusiveEndInclusiveStartBoundary;
}

function endsInside(marker: RangeTombstoneMarker): boolean {
  return marker.bound === BoundKind.InclusiveEnd || marker.bound === BoundKind.InclusiveEndExclusiveStartBoundary;
}

interface Group {
  timestampMicros: bigint;
  ttlSeconds: number;
  expiresAtSeconds: number;
  writtenAtSeconds: number | undefined;
  isInsert: boolean;
  readonly assignments: Assignment[];
}

/** The writes of one row or static row. */
function groupRow(row: Row, schema: TableSchema, options: GroupingOptions): Write[] {
  const writes: Write[] = [];
  const groups = new RowGroups(options);
  if (row.deletion !== undefined && options.keepsTombstone(row.deletion.timestampMicros)) {
    writes.push({
      kind: 'deleteSlice',
      equal: row.clustering.values().map((value) => value ?? EMPTY),
      ...row.deletion,
    });
  }
  if (row.liveness !== undefined && !isExpiredMarker(row.liveness)) groups.addLiveness(row.liveness);
  const columns = row.isStatic ? schema.staticColumns : schema.regularColumns;
  for (const cell of row.cells) groups.addCell(cell);
  for (const data of row.multiCells) {
    const { type } = columns[data.column]!;
    if (type.kind === 'list') addList(row, data, options, writes);
    else addElements(row, data, type, groups, options, writes);
  }
  for (const group of groups.all) {
    writes.push({
      kind: group.isInsert ? 'insert' : 'update',
      isStatic: row.isStatic,
      clustering: row.clustering.values(),
      timestampMicros: group.timestampMicros,
      ttlSeconds: group.ttlSeconds,
      expiresAtSeconds: group.expiresAtSeconds,
      writtenAtSeconds: group.writtenAtSeconds,
      assignments: group.assignments,
    });
  }
  return writes;
}

const EMPTY = new Uint8Array(0);

/** What a cell has become by now. */
type CellState = 'live' | 'tombstone' | 'drop';

class RowGroups {
  readonly all: Group[] = [];
  readonly #options: GroupingOptions;
  readonly #nowSeconds: number;

  constructor(options: GroupingOptions) {
    this.#options = options;
    this.#nowSeconds = options.nowSeconds();
  }

  /** An expired cell is written as expired where that can be said, else as a tombstone, and not at all if none is due. */
  stateOf(cell: Cell): CellState {
    const isExpired = cell.ttlSeconds !== 0 && cell.localDeletionTimeSeconds <= this.#nowSeconds;
    if (!cell.isTombstone && !isExpired) return 'live';
    if (!this.#options.keepsTombstone(cell.timestampMicros)) return 'drop';
    return !cell.isTombstone && this.#options.exactTimes ? 'live' : 'tombstone';
  }

  addLiveness(liveness: { timestampMicros: bigint; ttlSeconds: number; expiresAtSeconds: number }): void {
    const isExpired = liveness.ttlSeconds !== 0 && liveness.expiresAtSeconds <= this.#nowSeconds;
    if (isExpired && !(this.#options.exactTimes && this.#options.keepsTombstone(liveness.timestampMicros))) return;
    this.live(liveness.timestampMicros, liveness.ttlSeconds, liveness.expiresAtSeconds).isInsert = true;
  }

  addCell(cell: Cell): void {
    const { column } = cell;
    const state = this.stateOf(cell);
    if (state === 'live') this.liveOf(cell).assignments.push({ op: 'set', column, value: cell.value });
    else if (state === 'tombstone') this.deadOf(cell).assignments.push({ op: 'set', column, value: null });
  }

  liveOf(cell: Cell): Group {
    return this.live(cell.timestampMicros, cell.ttlSeconds, cell.localDeletionTimeSeconds);
  }

  deadOf(cell: Cell): Group {
    return this.dead(cell.timestampMicros, cell.localDeletionTimeSeconds);
  }

  /** The group of live cells of this time; it adopts one of tombstones that has the same time. */
  live(timestampMicros: bigint, ttlSeconds: number, expiresAtSeconds: number): Group {
    const base = writtenAt({ ttlSeconds }, expiresAtSeconds);
    for (const group of this.all) {
      if (
        group.timestampMicros === timestampMicros &&
        group.ttlSeconds === ttlSeconds &&
        group.expiresAtSeconds === expiresAtSeconds
      )
        return group;
    }
    return this.#create(timestampMicros, ttlSeconds, expiresAtSeconds, base);
  }

  /** A group that can carry a tombstone made at this second: same write time, and the same or no wall clock of its own. */
  dead(timestampMicros: bigint, madeAtSeconds: number): Group {
    for (const group of this.all) {
      if (group.timestampMicros !== timestampMicros) continue;
      if (group.writtenAtSeconds === madeAtSeconds || !this.#options.exactTimes) return group;
      if (group.writtenAtSeconds === undefined) {
        group.writtenAtSeconds = madeAtSeconds;
        return group;
      }
    }
    return this.#create(timestampMicros, 0, NO_DELETION_TIME, madeAtSeconds);
  }

  find(fits: (group: Group) => boolean): Group | undefined {
    return this.all.find(fits);
  }

  #create(
    timestampMicros: bigint,
    ttlSeconds: number,
    expiresAtSeconds: number,
    writtenAtSeconds: number | undefined,
  ): Group {
    const group = { timestampMicros, ttlSeconds, expiresAtSeconds, writtenAtSeconds, isInsert: false, assignments: [] };
    this.all.push(group);
    return group;
  }
}

/** A set, map or UDT: overwritten whole where one statement of the application must have done so, else by elements. */
function addElements(
  row: Row,
  data: MultiCell,
  type: CqlType,
  groups: RowGroups,
  options: GroupingOptions,
  writes: Write[],
): void {
  const { column, deletion } = data;
  const byGroup = new Map<Group, { live: Cell[]; dead: Cell[] }>();
  for (const cell of data.cells) {
    const state = groups.stateOf(cell);
    if (state === 'drop') continue;
    const group = state === 'live' ? groups.liveOf(cell) : groups.deadOf(cell);
    const known = byGroup.get(group) ?? { live: [], dead: [] };
    known[state === 'live' ? 'live' : 'dead'].push(cell);
    byGroup.set(group, known);
  }
  // Whether a statement of this group can make the deletion too: in time, and with its own wall clock where that counts.
  const mayCarry = (group: Group, of: Deletion) =>
    group.timestampMicros === of.timestampMicros + 1n &&
    (!options.exactTimes || (group.writtenAtSeconds ?? of.localDeletionTimeSeconds) === of.localDeletionTimeSeconds);
  const isKept = deletion !== undefined && options.keepsTombstone(deletion.timestampMicros);
  const [only] = byGroup;
  if (deletion !== undefined && only !== undefined && byGroup.size === 1 && only[1].dead.length === 0) {
    const [group, { live }] = only;
    if (mayCarry(group, deletion)) {
      // `m = ?` deletes what is older than its own write, at timestamp − 1 (Operation, setComplexDeletionTimeForOverwrite).
      if (isKept) group.writtenAtSeconds ??= deletion.localDeletionTimeSeconds;
      group.assignments.push({ op: 'set', column, value: encodeWhole(type, live) });
      return;
    }
  }
  if (deletion !== undefined && isKept) {
    const group = byGroup.size === 0 ? groups.find((candidate) => mayCarry(candidate, deletion)) : undefined;
    if (group !== undefined) {
      group.writtenAtSeconds ??= deletion.localDeletionTimeSeconds;
      group.assignments.push({ op: 'set', column, value: null });
    } else {
      writes.push({
        kind: 'deleteColumn',
        isStatic: row.isStatic,
        clustering: row.clustering.values(),
        column,
        ...deletion,
      });
    }
  }
  for (const [group, { live, dead }] of byGroup) {
    if (type.kind === 'udt') {
      for (const cell of live) group.assignments.push({ op: 'field', column, field: fieldOf(cell), value: cell.value });
      for (const cell of dead) group.assignments.push({ op: 'field', column, field: fieldOf(cell), value: null });
      continue;
    }
    if (live.length > 0) group.assignments.push({ op: 'add', column, value: encodeWhole(type, live) });
    if (dead.length > 0) {
      const keys = dead.map((cell) => cell.path ?? EMPTY);
      group.assignments.push({ op: 'remove', column, value: encodeCollection(keys.length, keys) });
    }
  }
}

function fieldOf(cell: Cell): number {
  const path = cell.path ?? EMPTY;
  return path.length === 2 ? (path[0]! << 8) | path[1]! : 0;
}

function encodeWhole(type: CqlType, cells: readonly Cell[]): Uint8Array {
  switch (type.kind) {
    case 'map':
      return encodeCollection(
        cells.length,
        cells.flatMap((cell) => [cell.path ?? EMPTY, cell.value]),
      );
    case 'udt': {
      const fields: (Uint8Array | null)[] = type.fields.map(() => null);
      for (const cell of cells) fields[fieldOf(cell)] = cell.value;
      return encodeFields(fields);
    }
    case 'set':
      return encodeCollection(
        cells.length,
        cells.map((cell) => cell.path ?? EMPTY),
      );
    default:
      return encodeCollection(
        cells.length,
        cells.map((cell) => cell.value),
      );
  }
}
