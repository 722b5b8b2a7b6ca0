import type { ProxyConfig } from '#core/config/schema.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import type { Counters } from '../counters/counters.ts';
import type { InFlightLog } from '../in-flight/in-flight-log.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClockWatch } from '../writes/clock-watch.ts';
import type { PhaseGate } from './phase-gate.ts';
import type { ShadowFailureWatch } from './shadow-failure-watch.ts';

/** The parts of a proxy that its heartbeat tells of; those that are undefined are not there yet. */
export interface FactSources {
  readonly config: ProxyConfig;
  readonly clocks: ClockWatch;
  readonly marks: SuspectMarks;
  readonly counters: Counters;
  readonly failures: ShadowFailureWatch;
  readonly gate: PhaseGate | undefined;
  readonly inFlight: InFlightLog | undefined;
}

/** What a heartbeat tells of a proxy, beside its lease and its epochs: the gates of a change of phase go by it. */
export function factsOf({ config, clocks, marks, counters, failures, gate, inFlight }: FactSources): Partial<ProxyRecord> {
  const { origin, target } = clocks.skewMs;
  return {
    skewMs: { origin, target },
    marksWaiting: marks.pendingCount,
    isBlind: inFlight?.isBlind ?? false,
    lastShadowFailureAt: failures.look(counters.shadowFailed, gate?.phase, new Date()),
    stopsWithLease: config.onLedgerLoss === 'stop',
  };
}
