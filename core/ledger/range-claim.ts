/** The right to write a range that must have one writer only: a lease, kept by compare-and-set. */

import { z } from 'zod';
import { GateClosedError, LedgerConflictError } from '../errors.ts';
import type { Clock, LedgerStore, Versioned } from '../ports.ts';
import { parseRecord } from './records.ts';
import { removeOwn } from './remove-own.ts';

const claimSchema = z.object({
  version: z.literal(1),
  runId: z.string(),
  leaseUntil: z.iso.datetime(),
});

/** Long enough for a slow ledger, short enough to wait for when its holder died. */
const LEASE_MS = 60_000;
const RENEW_AFTER_MS = 15_000;
/** What must be left of the lease when something is written: it has to arrive before another call may begin. */
const MARGIN_MS = 20_000;
const POLL_MS = 2000;
/** The lease of a claim that was taken away. */
const REVOKED = new Date(0).toISOString();

export interface RangeClaim {
  /** Another call's lease had to run out first: what it had sent may still arrive. */
  readonly isTakenOver: boolean;
  /** Whether the lease holds long enough for a write to be sent now. */
  readonly isSure: boolean;
  /**
   * Extends the lease when it is time to; may be called from several places at once.
   * @throws GateClosedError when another call has taken the range
   */
  renew(): Promise<void>;
  release(): Promise<void>;
}

/** Which range; two that overlap exclude each other, however their runs were cut. */
export interface ClaimedRange {
  readonly runId: string;
  readonly keyspace: string;
  readonly table: string;
  /** Decimal texts. */
  readonly start: string;
  readonly end: string;
}

interface ClaimPorts {
  readonly clock: Clock;
  readonly sleep: (ms: number) => Promise<void>;
}

/**
 * Takes the range, waiting for the leases of calls that died.
 * @throws GateClosedError when another call has a part of it
 */
export async function claimRange(range: ClaimedRange, store: LedgerStore, ports: ClaimPorts): Promise<RangeClaim> {
  const { runId, keyspace, table, start, end } = range;
  const { clock } = ports;
  const own = keyOf(range);
  const taken = () =>
    new GateClosedError(`loading ${keyspace}.${table} from ${start} to ${end}`, [
      'another call is at work on this range; wait for it, or stop it and wait a minute',
    ]);
  const put = async (key: string, leaseUntil: string, expected: string | null): Promise<string> => {
    const record: z.output<typeof claimSchema> = { version: 1, runId, leaseUntil };
    try {
      return await store.put(key, JSON.stringify(record), expected);
    } catch (error) {
      throw error instanceof LedgerConflictError ? taken() : error;
    }
  };
  const extend = (expected: string | null) => put(own, new Date(clock.nowMillis() + LEASE_MS).toISOString(), expected);

  const lapsed = new Map<string, Versioned>();
  for (const key of new Set([own, ...(await overlapping(range, store))])) {
    const found = await waitForLapse(key, store, ports, taken);
    if (found !== undefined) lapsed.set(key, found);
  }
  let leasedAt = clock.nowMillis();
  let version = await extend(lapsed.get(own)?.version ?? null);
  // What another call has written over it since is that call's.
  const release = async () => void (await removeOwn(store, own, version));
  const others = [...lapsed].filter(([key, { value }]) => key !== own && leaseOf(key, value) !== REVOKED);
  try {
    // Whoever holds one and comes back to life must see at its next renewal that the range is gone.
    for (const [key, found] of others) await put(key, REVOKED, found.version);
    // Of two calls that came at the same moment each sees the other now.
    for (const key of await overlapping(range, store)) {
      const found = key === own ? undefined : await store.get(key);
      if (found !== undefined && Date.parse(leaseOf(key, found.value)) > clock.nowMillis()) throw taken();
    }
  } catch (error) {
    await release();
    throw error;
  }

  let renewal: Promise<void> | undefined;
  return {
    isTakenOver: lapsed.has(own) || others.length > 0,
    get isSure() {
      return clock.nowMillis() < leasedAt + LEASE_MS - MARGIN_MS;
    },
    async renew() {
      const now = clock.nowMillis();
      if (now - leasedAt < RENEW_AFTER_MS) return;
      renewal ??= extend(version)
        .then((next) => {
          version = next;
          leasedAt = now;
        })
        .finally(() => {
          renewal = undefined;
        });
      await renewal;
    },
    release,
  };
}

const prefixOf = ({ keyspace, table }: ClaimedRange) => `claims/${keyspace}.${table}/`;
const keyOf = (range: ClaimedRange) => `${prefixOf(range)}${range.start}_${range.end}.json`;
const leaseOf = (key: string, text: string) => parseRecord(claimSchema, key, text).leaseUntil;

/** Keys of claims that have tokens in common with the range. */
async function overlapping(range: ClaimedRange, store: LedgerStore): Promise<readonly string[]> {
  const [start, end] = [BigInt(range.start), BigInt(range.end)];
  const keys: string[] = [];
  for await (const key of store.list(prefixOf(range))) {
    const [, from, to] = /\/(-?\d+)_(-?\d+)\.json$/.exec(key) ?? [];
    if (from !== undefined && to !== undefined && BigInt(from) < end && start < BigInt(to)) keys.push(key);
  }
  return keys;
}

/** Resolves to the record whose lease has run out, or to undefined when it was released. */
async function waitForLapse(
  key: string,
  store: LedgerStore,
  { clock, sleep }: ClaimPorts,
  taken: () => GateClosedError,
): Promise<Versioned | undefined> {
  let found = await store.get(key);
  const firstVersion = found?.version;
  while (found !== undefined) {
    if (found.version !== firstVersion) throw taken();
    const remainingMs = Date.parse(leaseOf(key, found.value)) - clock.nowMillis();
    if (remainingMs <= 0) break;
    await sleep(Math.min(POLL_MS, remainingMs));
    found = await store.get(key);
  }
  return found;
}
