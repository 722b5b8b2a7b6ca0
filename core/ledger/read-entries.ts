import type { LedgerEntry, LedgerStore } from '../ports.ts';

/** Records that are read at once. */
const WIDTH = 16;

/** The records of these keys, in their order; those that are gone meanwhile are left out. For stores that list keys only. */
export async function* readEntries(
  keys: AsyncIterable<string>,
  get: LedgerStore['get'],
): AsyncGenerator<LedgerEntry, void> {
  let batch: string[] = [];
  for await (const key of keys) {
    batch.push(key);
    if (batch.length < WIDTH) continue;
    yield* await readAll(batch, get);
    batch = [];
  }
  yield* await readAll(batch, get);
}

async function readAll(keys: readonly string[], get: LedgerStore['get']): Promise<LedgerEntry[]> {
  const found = await Promise.all(
    keys.map(async (key) => {
      const entry = await get(key);
      return entry && { key, ...entry };
    }),
  );
  return found.filter((entry) => entry !== undefined);
}
