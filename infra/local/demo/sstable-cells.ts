/** Reads sstabledump's JSON into live cells with their times, and compares those of two clusters. */

/** A live cell, or the liveness of a row (`column` is then empty). */
export interface DumpedCell {
  readonly value: string;
  readonly timestampMicros: bigint;
  readonly expiresAtSeconds: number | undefined;
}

interface Liveness {
  readonly tstamp?: string;
  readonly expires_at?: string;
  readonly expired?: boolean;
}

interface JsonCell extends Liveness {
  readonly name: string;
  readonly path?: readonly unknown[];
  readonly value?: unknown;
  readonly deletion_info?: unknown;
}

interface JsonRow {
  readonly type: string;
  readonly clustering?: readonly unknown[];
  readonly liveness_info?: Liveness;
  readonly cells?: readonly JsonCell[];
}

interface JsonPartition {
  readonly partition: { readonly key: readonly string[] };
  readonly rows?: readonly JsonRow[];
}

/**
 * Live cells by partition, clustering, column and path. Deletions are left out: once both sides are compacted nothing
 * live lies under them. Elements of lists are named by their position: their paths are made by the server, each
 * cluster its own.
 * @param json of `sstabledump -t`, which prints times as numbers
 */
export function readDump(json: string, lists: ReadonlySet<string>): Map<string, DumpedCell> {
  const cells = new Map<string, DumpedCell>();
  for (const { partition, rows } of JSON.parse(json) as JsonPartition[]) {
    for (const row of rows ?? []) {
      if (row.type !== 'row' && row.type !== 'static_block') continue;
      const place = JSON.stringify([partition.key, row.clustering ?? []]);
      if (row.liveness_info) addCell(cells, `${place} (row)`, '', row.liveness_info);
      const positions = new Map<string, number>();
      for (const cell of row.cells ?? []) {
        if (cell.value === undefined || cell.deletion_info !== undefined) continue;
        const position = positions.get(cell.name) ?? 0;
        positions.set(cell.name, position + 1);
        const path = lists.has(cell.name) ? [position] : (cell.path ?? []);
        // A cell without a time of its own has that of its row.
        const own: Liveness = cell.tstamp === undefined ? { ...row.liveness_info, ...cell } : cell;
        const times =
          own.expires_at === undefined && row.liveness_info?.expires_at !== undefined && cell.tstamp === undefined
            ? { ...own, expires_at: row.liveness_info.expires_at }
            : own;
        addCell(cells, `${place} ${cell.name} ${JSON.stringify(path)}`, JSON.stringify(cell.value), times);
      }
    }
  }
  return cells;
}

function addCell(cells: Map<string, DumpedCell>, key: string, value: string, times: Liveness): void {
  if (times.expired === true || times.tstamp === undefined) return;
  cells.set(key, {
    value,
    timestampMicros: BigInt(times.tstamp),
    expiresAtSeconds: times.expires_at === undefined ? undefined : Number(times.expires_at),
  });
}

export interface CellComparison {
  readonly compared: number;
  /** Left out because a write newer than the comparison touched them. */
  readonly tooNew: number;
  /** One line each, twenty at most. */
  readonly differences: readonly string[];
  readonly differenceCount: number;
}

const EXPIRY_TOLERANCE_SECONDS = 2;

/**
 * Compares value, write time and expiry (within two seconds) of every cell that was settled before the dumps were made.
 * @param settledMicros cells written later than this, on either side, are not judged
 */
export function compareDumps(
  origin: ReadonlyMap<string, DumpedCell>,
  target: ReadonlyMap<string, DumpedCell>,
  settledMicros: bigint,
  isList: (key: string) => boolean,
): CellComparison {
  const differences: string[] = [];
  let compared = 0;
  let tooNew = 0;
  for (const key of new Set([...origin.keys(), ...target.keys()])) {
    const mine = origin.get(key);
    const theirs = target.get(key);
    if ([mine, theirs].some((cell) => cell !== undefined && cell.timestampMicros > settledMicros)) {
      tooNew++;
      continue;
    }
    compared++;
    if (!equalCells(mine, theirs, isList(key)))
      differences.push(`${key}: ${show(mine)} on the origin, ${show(theirs)} on the target`);
  }
  return { compared, tooNew, differences: differences.slice(0, 20), differenceCount: differences.length };
}

function equalCells(mine: DumpedCell | undefined, theirs: DumpedCell | undefined, valueOnly: boolean): boolean {
  if (mine === undefined || theirs === undefined || mine.value !== theirs.value) return false;
  if (valueOnly) return true;
  if (mine.timestampMicros !== theirs.timestampMicros) return false;
  if (mine.expiresAtSeconds === undefined || theirs.expiresAtSeconds === undefined) {
    return mine.expiresAtSeconds === theirs.expiresAtSeconds;
  }
  return Math.abs(mine.expiresAtSeconds - theirs.expiresAtSeconds) <= EXPIRY_TOLERANCE_SECONDS;
}

function show(cell: DumpedCell | undefined): string {
  if (cell === undefined) return 'nothing';
  const expiry = cell.expiresAtSeconds === undefined ? '' : ` until ${cell.expiresAtSeconds}`;
  return `${cell.value} at ${cell.timestampMicros}${expiry}`;
}
