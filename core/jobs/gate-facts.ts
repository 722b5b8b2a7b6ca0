/** Collects what the gates of a change of phase are asked about. */
import type { MigrationConfig } from '../config/schema.ts';
import { describeError } from '../errors.ts';
import type { Filter } from '../filter/filter.ts';
import type { ClustersSeen, GateFacts, GateLimits, QueueLook } from '../ledger/gate-facts.ts';
import { isAsked, type StepKind } from '../ledger/gates.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { PhaseRecord, ProxyRecord } from '../ledger/records.ts';
import { readReplayState } from '../ledger/replay-state.ts';
import { listSavedIndexes } from '../ledger/saved-indexes.ts';
import { readShadowFailures } from '../ledger/shadow-failures.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { FailedWriteQueue } from '../ports.ts';

/** Where the facts are found, beside the ledger. */
export interface GateSources {
  /** null: failed writes stay in the journals. */
  readonly queue: FailedWriteQueue | null;
  readonly lookAtClusters: () => Promise<ClustersSeen>;
  readonly filter: Filter;
  readonly limits: GateLimits;
}

/** What of them does not change by itself while the proxies drain. */
export interface SlowFacts {
  readonly since: Date;
  readonly queue: readonly QueueLook[];
  readonly clusters: ClustersSeen | undefined;
}

interface Ports {
  readonly ledger: Ledger;
  readonly now: () => Date;
  readonly sleep: (ms: number) => Promise<void>;
  readonly gates: GateSources;
}

/** SQS counts by what some of its hosts know: a message may be missed once, hardly three times. */
const QUEUE_LOOKS = 3;
const BETWEEN_LOOKS_MS = 2_500;

/** The limits of the configuration. */
export function gateLimits({ gates, proxy }: MigrationConfig): GateLimits {
  return { ...gates, maxSkewMs: proxy.clocks.maxSkewMs };
}

/** Looks at the clusters and, for a few seconds, at the queue. */
export async function collectSlowFacts(kind: StepKind, { gates, now, sleep }: Ports): Promise<SlowFacts> {
  const since = now();
  const { queue } = gates;
  const looks: Promise<QueueLook[]> =
    queue && isAsked('queue-unknown', kind)
      ? lookAtQueue(queue, queue.isExact ? 1 : QUEUE_LOOKS, sleep)
      : Promise.resolve([]);
  const [seen, clusters] = await Promise.all([
    looks,
    // They know of tables of which the ledger has never heard.
    kind === 'back' ? undefined : gates.lookAtClusters(),
  ]);
  return { since, queue: seen, clusters };
}

async function lookAtQueue(
  queue: FailedWriteQueue,
  count: number,
  sleep: (ms: number) => Promise<void>,
): Promise<QueueLook[]> {
  const looks: QueueLook[] = [];
  for (let look = 0; look < count; look++) {
    if (look > 0) await sleep(BETWEEN_LOOKS_MS);
    try {
      looks.push(await queue.depth());
    } catch (error) {
      return [{ error: describeError(error) }];
    }
  }
  return looks;
}

/** One more look at the queue, in the place of those of before. */
export async function lookAgain(slow: SlowFacts, { gates, sleep }: Ports): Promise<SlowFacts> {
  if (slow.queue.length === 0 || gates.queue === null) return slow;
  return { ...slow, queue: await lookAtQueue(gates.queue, 1, sleep) };
}

/** The facts as the ledger has them now. */
export async function collectFacts(
  phase: PhaseRecord,
  slow: SlowFacts,
  word: { readonly withoutProxies: boolean; readonly abandonFiltered: boolean },
  { ledger, gates, now }: Ports,
): Promise<GateFacts> {
  const [proxies, tables, marks, runs, owed, replay, failures] = await Promise.all([
    ledger.listProxies(),
    ledger.listTables(),
    ledger.listSuspects(),
    ledger.listRuns('load'),
    listSavedIndexes(ledger.store),
    readReplayState(ledger.store),
    readShadowFailures(ledger.store),
  ]);
  return {
    ...slow,
    ...word,
    now: now(),
    phase,
    proxies,
    tables,
    marks,
    loads: runs.filter(({ state }) => state === 'running'),
    owed: owed.filter(({ state }) => state !== 'restored'),
    replay,
    lastShadowFailureAt: latest([failures, ...proxies.map((proxy) => proxy.lastShadowFailureAt ?? {})]),
    hasFilterRules: !gates.filter.isEmpty,
    isExcluded: (keyspace, table) => gates.filter.decide(keyspace, table).kind === 'excluded',
    limits: gates.limits,
  };
}

type Failures = NonNullable<ProxyRecord['lastShadowFailureAt']>;

function latest(all: readonly Failures[]): Partial<Record<ClusterName, string>> {
  const of = (cluster: ClusterName): string | undefined =>
    all
      .flatMap((one) => one[cluster] ?? [])
      .sort()
      .at(-1);
  const [origin, target] = [of('origin'), of('target')];
  return { ...(origin ? { origin } : {}), ...(target ? { target } : {}) };
}
