/** `shadow-failures.json`: when a copy to each cluster failed the last time; it outlives the instance that saw it. */
import { z } from 'zod';
import { LedgerConflictError } from '../errors.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { LedgerStore } from '../ports.ts';
import { parseRecord } from './records.ts';

const KEY = 'shadow-failures.json';
const MAX_CONFLICTS = 5;
/** What the ledger has may be older by so much: it is written by every instance while a cluster is away. */
const COARSENESS_MS = 10_000;

const schema = z.looseObject({
  version: z.literal(1),
  origin: z.iso.datetime().optional(),
  target: z.iso.datetime().optional(),
});

export type ShadowFailures = Partial<Record<ClusterName, string>>;

/** @throws LedgerUnavailableError */
export async function readShadowFailures(store: LedgerStore): Promise<ShadowFailures> {
  const found = await store.get(KEY);
  if (found === undefined) return {};
  const { origin, target } = parseRecord(schema, KEY, found.value);
  return { ...(origin ? { origin } : {}), ...(target ? { target } : {}) };
}

/**
 * Notes failures, unless the ledger has later ones or nearly the same.
 * @throws LedgerUnavailableError, LedgerConflictError; the next call notes what this one did not
 */
export async function noteShadowFailures(failures: ShadowFailures, store: LedgerStore): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const found = await store.get(KEY);
    const known = found === undefined ? { version: 1 as const } : parseRecord(schema, KEY, found.value);
    const news = Object.entries(failures).filter(
      ([cluster, at]) => Date.parse(at) > Date.parse(known[cluster as ClusterName] ?? '1970-01-01') + COARSENESS_MS,
    );
    if (news.length === 0) return;
    try {
      await store.put(KEY, JSON.stringify({ ...known, ...Object.fromEntries(news) }), found?.version ?? null);
      return;
    } catch (error) {
      if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
    }
  }
}
