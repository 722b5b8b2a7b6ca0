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
import { type RangeEnd, rangeDeletes } from './range-deletes.ts';
import { isExpiredMarker } from './reconcile.ts';
import type { Assignment, ListPart, Stamp, Write } from './writes.ts';

export interface GroupingOptions {
  /** Whether a deletion of this write time must reach the target. Microseconds. */
  readonly keepsTombstone: (timestampMicros: bigint) => boolean;
  /** List cells of this write time and later are the shadow's and are left out. Microseconds; undefined: none. */
  readonly dualWritesSinceMicros?: bigint;
  /** List cells of this time are perhaps the shadow's and perhaps not: `unclearListCell` is told. Microseconds. */
  readonly isUnclear?: (timestampMicros: bigint) => boolean;
  /** The target takes `now_in_seconds`: what has expired can be written as expired. */
  readonly exactTimes: boolean;
  readonly nowSeconds: () => number;
  /** Told of what CQL can't carry over as it is. */
  readonly onLoss?: (loss: GroupingLoss) => void;
}

/**
 * `shadowedListCell`: left to the shadow. `unclearListCell`: of the time when only some proxies wrote to both clusters.
 * `mixedList`: its cells had several write times or expiries; now they have one write time. `listExpiry`: and they all
 * live as long as the longest, since they took too many turns.
 */
export type GroupingLoss = 'shadowedListCell' | 'unclearListCell' | 'mixedList' | 'listExpiry';

/** Beyond it a list becomes one statement; a list whose every element has its own TTL stays a small request. */
const MAX_LIST_PARTS = 256;

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

function writtenAt(stamp: { readonly ttlSeconds: number }, expiresAtSeconds: number): number | undefined {
  return stamp.ttlSeconds === 0 ? undefined : expiresAtSeconds - stamp.ttlSeconds;
}

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

/**
 * A list as a whole, at its latest write time. Cells of the time of the dual writes are the shadow's: they would get a
 * second id here and stand twice.
 */
function addList(row: Row, data: MultiCell, options: GroupingOptions, writes: Write[]): void {
  const since = options.dualWritesSinceMicros;
  const isShadows = (timestampMicros: bigint) => since !== undefined && timestampMicros >= since;
  const nowSeconds = options.nowSeconds();
  const live: Cell[] = [];
  const times = [...data.cells, ...(data.deletion ? [data.deletion] : [])].map((each) => each.timestampMicros);
  if (options.isUnclear !== undefined && times.some(options.isUnclear)) options.onLoss?.('unclearListCell');
  for (const cell of data.cells) {
    if (isShadows(cell.timestampMicros)) options.onLoss?.('shadowedListCell');
    else if (!cell.isTombstone && (cell.ttlSeconds === 0 || cell.localDeletionTimeSeconds > nowSeconds))
      live.push(cell);
  }
  const place = { isStatic: row.isStatic, clustering: row.clustering.values(), column: data.column };
  const newest = live.reduce<Cell | undefined>(
    (best, cell) => (best === undefined || cell.timestampMicros > best.timestampMicros ? cell : best),
    undefined,
  );
  if (newest === undefined) {
    const { deletion } = data;
    if (deletion === undefined || isShadows(deletion.timestampMicros)) return;
    if (options.keepsTombstone(deletion.timestampMicros)) writes.push({ kind: 'deleteColumn', ...place, ...deletion });
    return;
  }
  const parts = listParts(live, newest, nowSeconds, options);
  const isMixed = parts.length > 1 || live.some((cell) => cell.timestampMicros !== newest.timestampMicros);
  if (isMixed) options.onLoss?.('mixedList');
  const [first] = parts;
  const stamp: Stamp = {
    timestampMicros: newest.timestampMicros,
    ttlSeconds: first!.ttlSeconds,
    expiresAtSeconds: first!.expiresAtSeconds,
    // Several expiries, one request: all of them are told from one second, which is before each of them.
    writtenAtSeconds: parts.length > 1 ? nowSeconds : writtenAt(first!, first!.expiresAtSeconds),
  };
  writes.push({ kind: 'list', ...place, ...stamp, parts });
}

/** Runs of neighbours that expire together, so that each element lives as long as on the origin. */
function listParts(
  live: readonly Cell[],
  newest: Cell,
  nowSeconds: number,
  options: GroupingOptions,
): readonly ListPart[] {
  const runs: Cell[][] = [];
  for (const cell of live) {
    const run = runs.at(-1);
    if (run?.[0]?.localDeletionTimeSeconds === cell.localDeletionTimeSeconds) run.push(cell);
    else runs.push([cell]);
  }
  if (runs.length === 1) return [partOf(live, newest.ttlSeconds, newest.localDeletionTimeSeconds)];
  if (runs.length > MAX_LIST_PARTS) {
    options.onLoss?.('listExpiry');
    const longest = live.reduce((best, cell) =>
      cell.localDeletionTimeSeconds > best.localDeletionTimeSeconds ? cell : best,
    );
    return [partOf(live, longest.ttlSeconds, longest.localDeletionTimeSeconds)];
  }
  return runs.map((run) => {
    const expiresAtSeconds = run[0]!.localDeletionTimeSeconds;
    return partOf(run, run[0]!.ttlSeconds === 0 ? 0 : expiresAtSeconds - nowSeconds, expiresAtSeconds);
  });
}

function partOf(cells: readonly Cell[], ttlSeconds: number, expiresAtSeconds: number): ListPart {
  const value = encodeCollection(
    cells.length,
    cells.map((cell) => cell.value),
  );
  return { ttlSeconds, expiresAtSeconds, value };
}

// Clocks of proxies and drivers differ by less, else the proxy is not ready (proxy.clocks.maxSkewMs).
const SKEW_MICROS = 1_000_000n;
// A request that was sent before every proxy wrote to both clusters may carry its driver's time, and take this long.
const REQUEST_MICROS = 10_000_000n;

/**
 * Which list cells may or may not have been shadowed: neither to load nor to skip them is right, so their table must be
 * compared afterwards.
 * @param settledMicros when every proxy was seen in the dual writes; undefined: never, so there is no end
 */
export function unclearListTimes(
  sinceMicros: bigint | undefined,
  settledMicros: bigint | undefined,
): (timestampMicros: bigint) => boolean {
  if (sinceMicros === undefined) return () => false;
  const start = sinceMicros - SKEW_MICROS;
  const end = settledMicros === undefined ? undefined : settledMicros + REQUEST_MICROS;
  return (timestampMicros) => timestampMicros >= start && (end === undefined || timestampMicros <= end);
}

/**
 * Which deletions go to the target. After a merge of all replicas a tombstone shadows nothing in an empty target;
 * `recent` keeps those that a late shadow write of an older time might meet.
 * @param dualWritesSinceMicros undefined when there are no dual writes: `recent` then keeps all
 */
export function tombstonePolicy(
  option: 'none' | 'recent' | 'all',
  dualWritesSinceMicros: bigint | undefined,
  marginMicros = 3_600_000_000n,
): (timestampMicros: bigint) => boolean {
  if (option === 'none') return () => false;
  if (option === 'all' || dualWritesSinceMicros === undefined) return () => true;
  const oldest = dualWritesSinceMicros - marginMicros;
  return (timestampMicros) => timestampMicros >= oldest;
}
