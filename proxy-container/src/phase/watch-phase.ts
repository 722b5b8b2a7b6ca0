import type { MigrationConfig } from '#core/config/schema.ts';
import type { FencedError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { InFlightLog } from '../in-flight/in-flight-log.ts';
import { Durability, storageOf } from '../journal/durability.ts';
import type { Journal } from '../journal/journal.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClusterWatch } from '../topology/cluster-watch.ts';
import type { FailedWrites } from '../writes/failed-writes.ts';
import { prepareHandOver } from './hand-over.ts';
import type { PhaseGate } from './phase-gate.ts';
import { PhaseWatch } from './phase-watch.ts';
import { factsOf } from './proxy-facts.ts';
import { ShadowFailureWatch } from './shadow-failure-watch.ts';

export interface WatchedProxy {
  readonly config: MigrationConfig;
  readonly processId: string;
  /** As this process may use it. */
  readonly ledger: Ledger;
  readonly instance: string;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly marks: SuspectMarks;
  readonly clusterWatch: ClusterWatch;
  /** undefined: not there yet. */
  readonly gate: () => PhaseGate | undefined;
  readonly failedWrites: () => FailedWrites | undefined;
  readonly inFlight: () => InFlightLog | undefined;
  readonly journal: () => Journal | undefined;
  readonly onFenced: (error: FencedError) => void;
}

/**
 * The watch of one proxy, with what its heartbeats tell and what it makes sure of before another cluster answers; and
 * what becomes of what only its disk has.
 */
export function watchPhase(proxy: WatchedProxy): { readonly watch: PhaseWatch; readonly durability: Durability } {
  const { config, ledger, instance, processId, logger, counters, marks, clusterWatch, gate, onFenced } = proxy;
  const { clocks } = clusterWatch;
  const failures = new ShadowFailureWatch();
  const durability = new Durability({
    ...{ ledger, instance, processId, logger, counters },
    storage: storageOf(config.failedWrites, process.env),
    clock: { nowMillis: () => Date.now() },
    settledAtMs: () => Math.min(marks.settledAtMs, proxy.failedWrites()?.settledAtMs ?? 0),
    leftCount: () => (proxy.journal()?.health.messages ?? 0) + marks.pendingCount + (proxy.inFlight()?.openCount ?? 0),
    onNewTable: () => watch.hurry(),
  });
  const watch = new PhaseWatch({
    ...{ ledger, instance, logger, onFenced },
    lease: config.proxy.lease,
    counters: () => counters.summary(),
    facts: () => ({
      ...factsOf({
        ...{ config: config.proxy, clocks, marks, counters, failures, gate: gate() },
        ...{ inFlight: proxy.inFlight(), journal: proxy.journal() },
      }),
      ...durability.facts(),
    }),
    onTold: (facts) => durability.noteTold(facts),
    onAct: (record) => clusterWatch.controls.follow(record.active.phase),
    beforeHandOver: (next) => prepareHandOver(next, { marks, clocks, failedWrites: proxy.failedWrites() }),
  });
  return { watch, durability };
}
