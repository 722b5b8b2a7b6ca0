/** The right to write a range that must have one writer only: a lease, kept by compare-and-set. */

import { z } from 'zod';
import { GateClosedError, LedgerConflictError } from '../errors.ts';
import type { Clock, LedgerStore } from '../ports.ts';
import { parseRecord } from './records.ts';

const claimSchema = z.object({
  version: z.literal(1),
  runId: z.string(),
  leaseUntil: z.iso.datetime(),
});

/** Long enough for a slow ledger, short enough to wait for when its holder died. */
const LEASE_MS = 60_000;
const RENEW_AFTER_MS = 15_000;
const POLL_MS = 2000;

export interface RangeClaim {
  /**
   * Extends the lease when it is time to.
   * @throws GateClosedError when another call has taken the range
   */
  renew(): Promise<void>;
  release(): Promise<void>;
}

/** Which range: the same cut of the same table has the same key in all runs. */
export interface ClaimedRange {
  readonly runId: string;
  readonly keyspace: string;
  readonly table: string;
  /** Decimal texts. */
  readonly start: string;
  readonly end: string;
}

/**
 * Takes the range, waiting for the lease of a call that died.
 * @throws GateClosedError when another call renews its claim meanwhile
 */
export async function claimRange(
  range: ClaimedRange,
  store: LedgerStore,
  ports: { readonly clock: Clock; readonly sleep: (ms: number) => Promise<void> },
): Promise<RangeClaim> {
  const { runId, keyspace, table, start, end } = range;
  const { clock, sleep } = ports;
  const key = `claims/${keyspace}.${table}/${start}_${end}.json`;
  const taken = () =>
    new GateClosedError(`loading ${keyspace}.${table} from ${start} to ${end}`, [
      'another call is at work on this range; wait for it, or stop it and wait a minute',
    ]);
  const text = () => {
    const leaseUntil = new Date(clock.nowMillis() + LEASE_MS).toISOString();
    return JSON.stringify({ version: 1, runId, leaseUntil } satisfies z.output<typeof claimSchema>);
  };
  const put = async (expected: string | null): Promise<string> => {
    try {
      return await store.put(key, text(), expected);
    } catch (error) {
      throw error instanceof LedgerConflictError ? taken() : error;
    }
  };

  let found = await store.get(key);
  const firstVersion = found?.version;
  while (found !== undefined) {
    if (found.version !== firstVersion) throw taken();
    const remainingMs = Date.parse(parseRecord(claimSchema, key, found.value).leaseUntil) - clock.nowMillis();
    if (remainingMs <= 0) break;
    await sleep(Math.min(POLL_MS, remainingMs));
    found = await store.get(key);
  }
  let version = await put(found?.version ?? null);
  let renewedAt = clock.nowMillis();
  return {
    async renew() {
      if (clock.nowMillis() - renewedAt < RENEW_AFTER_MS) return;
      version = await put(version);
      renewedAt = clock.nowMillis();
    },
    async release() {
      const mine = await store.get(key);
      if (mine?.version === version) await store.remove(key);
    },
  };
}
