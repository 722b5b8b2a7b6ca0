/**
 * Non-frozen lists, whose elements get new ids on the target: each is written whole, by neighbours that expire together.
 */

import type { Cell, MultiCell, Row } from '../model/row.ts';
import { encodeCollection } from './collection-bytes.ts';
import type { GroupingOptions } from './grouping-options.ts';
import { type ListPart, type Stamp, type Write, writtenAt } from './writes.ts';

/** Beyond it a list becomes one statement; a list whose every element has its own TTL stays a small request. */
const MAX_LIST_PARTS = 256;

/**
 * A list as a whole, at its latest write time. Cells of the time of the dual writes are the shadow's: they would get a
 * second id here and stand twice.
 */
export function addList(row: Row, data: MultiCell, options: GroupingOptions, writes: Write[]): void {
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
