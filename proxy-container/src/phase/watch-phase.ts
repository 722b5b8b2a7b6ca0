import type { ProxyConfig } from '#core/config/schema.ts';
import type { FencedError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClusterWatch } from '../topology/cluster-watch.ts';
import type { FailedWrites } from '../writes/failed-writes.ts';
import { prepareHandOver } from './hand-over.ts';
import type { PhaseGate } from './phase-gate.ts';
import { PhaseWatch } from './phase-watch.ts';
import { factsOf } from './proxy-facts.ts';
import { ShadowFailureWatch } from './shadow-failure-watch.ts';

export interface WatchedProxy {
  readonly config: ProxyConfig;
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
  readonly onFenced: (error: FencedError) => void;
}

/** The watch of one proxy, with what its heartbeats tell and what it makes sure of before another cluster answers. */
export function watchPhase(proxy: WatchedProxy): PhaseWatch {
  const { config, ledger, instance, logger, counters, marks, clusterWatch, gate, onFenced } = proxy;
  const { clocks } = clusterWatch;
  const failures = new ShadowFailureWatch();
  return new PhaseWatch({
    ...{ ledger, instance, logger, onFenced },
    lease: config.lease,
    counters: () => counters.summary(),
    facts: () => factsOf({ config, clocks, marks, counters, failures, gate: gate() }),
    onAct: (record) => clusterWatch.controls.follow(record.active.phase),
    beforeHandOver: (next) => prepareHandOver(next, { marks, clocks, failedWrites: proxy.failedWrites() }),
  });
}
