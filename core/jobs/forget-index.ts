import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { changeSavedIndexes, type SavedIndex } from '../ledger/saved-indexes.ts';

/**
 * Gives up an index that a load has dropped: nobody brings it back any more. Resolves to what was saved of it.
 * @throws GateClosedError when no such index is owed, and while the load that owes it is under way
 */
export async function forgetIndex(
  keyspace: string,
  table: string,
  name: string,
  { store, readRun }: Pick<Ledger, 'store' | 'readRun'>,
): Promise<SavedIndex> {
  const what = `giving up index ${name} on ${keyspace}.${table}`;
  const before = await changeSavedIndexes(store, keyspace, table, () => undefined);
  if (before !== undefined && before.state !== 'restored' && (await readRun(before.runId))?.state === 'running') {
    throw new GateClosedError(what, [
      `load ${before.runId}, which has dropped it, is under way; wait for it, or stop it: ringshift load stop ${before.runId}`,
    ]);
  }
  let forgotten: SavedIndex | undefined;
  await changeSavedIndexes(store, keyspace, table, (found) => {
    forgotten = found?.indexes.find((index) => index.name === name);
    if (found === undefined || forgotten === undefined || found.state === 'restored' || found.runId !== before?.runId) {
      throw new GateClosedError(what, ['it is not owed; see: ringshift indexes status']);
    }
    const indexes = found.indexes.filter((index) => index !== forgotten);
    const isBack = indexes.every(({ state }) => state === 'built');
    return { ...found, indexes, state: isBack ? 'restored' : found.state };
  });
  return forgotten!;
}
