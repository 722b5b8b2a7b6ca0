/**
 * `copied/<cluster>/<keyspace>.<table>.json`: of some writes before an instant only the places are known. Comparing a place
 * shows no tombstone of a deletion among them, so a failed write that is older must be compared as well: applied after the
 * comparison, it would bring back what was deleted.
 */
import { z } from 'zod';
import { LedgerConflictError } from '../errors.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { TableName } from '../model/failed-write.ts';
import type { Clock, LedgerStore } from '../ports.ts';
import { parseRecord } from './records.ts';

const copiedRecord = z.looseObject({
  version: z.literal(1),
  /** Writes that are older are compared. */
  before: z.iso.datetime(),
  /** When that was written down. */
  since: z.iso.datetime(),
});

/** How long what was read is believed. Milliseconds. */
const BELIEVED_MS = 2_000;
/** How long a write may still be under way for which the record was read before it was there. Milliseconds. */
const HELD_MS = 15_000;
const MAX_CONFLICTS = 20;

const keyOf = (cluster: ClusterName, { keyspace, table }: TableName) =>
  `copied/${cluster}/${encodeURIComponent(keyspace)}.${encodeURIComponent(table)}.json`;

/**
 * Has writes before an instant compared from now on; resolves to how long to wait until each of them is.
 * @throws LedgerUnavailableError, LedgerConflictError
 */
export async function compareBefore(
  store: LedgerStore,
  cluster: ClusterName,
  table: TableName,
  beforeMillis: number,
  nowMillis: number,
): Promise<number> {
  const key = keyOf(cluster, table);
  for (let attempt = 1; ; attempt++) {
    const found = await store.get(key);
    const record = found && parseRecord(copiedRecord, key, found.value);
    if (record && Date.parse(record.before) >= beforeMillis) {
      return Math.min(HELD_MS, Math.max(0, Date.parse(record.since) + HELD_MS - nowMillis));
    }
    const [before, since] = [beforeMillis, nowMillis].map((millis) => new Date(millis).toISOString());
    try {
      await store.put(key, JSON.stringify({ version: 1, before, since }), found?.version ?? null);
      return HELD_MS;
    } catch (error) {
      if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
    }
  }
}

/** The records as one call of the replay reads them. */
export class CopiedTables {
  readonly #store: LedgerStore;
  readonly #clock: Clock;
  readonly #known = new Map<string, { readonly at: number; readonly before: Promise<number> }>();

  constructor(store: LedgerStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Milliseconds since the epoch; 0: there is none. @throws LedgerUnavailableError */
  async before(cluster: ClusterName, table: TableName): Promise<number> {
    const key = keyOf(cluster, table);
    const now = this.#clock.nowMillis();
    const known = this.#known.get(key);
    if (known && now - known.at < BELIEVED_MS) return known.before;
    const before = this.#read(key);
    this.#known.set(key, { at: now, before });
    before.catch(() => this.#known.delete(key));
    return before;
  }

  async #read(key: string): Promise<number> {
    const found = await this.#store.get(key);
    return found === undefined ? 0 : Date.parse(parseRecord(copiedRecord, key, found.value).before);
  }
}
