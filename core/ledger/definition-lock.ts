/** The right to change the schema of both clusters, which one proxy has at a time: a lease, by compare-and-set. */
import { z } from 'zod';
import { GateClosedError, LedgerConflictError } from '../errors.ts';
import type { Clock, LedgerStore } from '../ports.ts';
import { parseRecord } from './records.ts';
import { removeOwn } from './remove-own.ts';

const KEY = 'definitions.json';
const LEASE_MS = 20_000;
const POLL_MS = 100;

const definitionLockSchema = z.object({
  version: z.literal(1),
  by: z.string().min(1),
  leaseUntil: z.iso.datetime(),
});

export interface DefinitionLock {
  /** Extends the lease; false: another has it. @throws LedgerUnavailableError */
  renew(): Promise<boolean>;
  release(): Promise<void>;
}

/** How often a holder must renew. Milliseconds. */
export const DEFINITION_LOCK_RENEWAL_MS = LEASE_MS / 4;

/**
 * Takes the lock, waiting for its holder.
 * @param by an id of the process, for messages
 * @throws GateClosedError when the holder did not give it back in time; LedgerUnavailableError
 */
export async function takeDefinitionLock(
  store: LedgerStore,
  by: string,
  withinMs: number,
  ports: { readonly clock: Clock; readonly sleep: (ms: number) => Promise<void> },
): Promise<DefinitionLock> {
  const { clock, sleep } = ports;
  const record = () => {
    const leaseUntil = new Date(clock.nowMillis() + LEASE_MS).toISOString();
    return JSON.stringify({ version: 1, by, leaseUntil } satisfies z.output<typeof definitionLockSchema>);
  };
  const put = async (expected: string | null): Promise<string | undefined> => {
    try {
      return await store.put(KEY, record(), expected);
    } catch (error) {
      if (error instanceof LedgerConflictError) return undefined;
      throw error;
    }
  };
  const deadlineMs = clock.nowMillis() + withinMs;
  for (;;) {
    const found = await store.get(KEY);
    const holder = found && parseRecord(definitionLockSchema, KEY, found.value);
    const isFree = holder === undefined || Date.parse(holder.leaseUntil) <= clock.nowMillis();
    let version = isFree ? await put(found?.version ?? null) : undefined;
    if (version !== undefined) {
      return {
        async renew() {
          version = version === undefined ? undefined : await put(version);
          return version !== undefined;
        },
        async release() {
          if (version !== undefined) await removeOwn(store, KEY, version);
        },
      };
    }
    if (clock.nowMillis() >= deadlineMs) {
      throw new GateClosedError('changing the schema', [
        `the proxy ${holder?.by ?? '(unknown)'} changes it at the moment; try again`,
      ]);
    }
    await sleep(POLL_MS);
  }
}
