import type { ProxyConfig } from '#core/config/schema.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import type { Counters } from '../counters/counters.ts';
import type { InFlightLog } from '../in-flight/in-flight-log.ts';
import type { Journal } from '../journal/journal.ts';
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
  readonly journal: Journal | undefined;
}

/** What a heartbeat tells of a proxy, beside its lease and its epochs: the gates of a change of phase go by it. */
export function factsOf(sources: FactSources): Partial<ProxyRecord> {
  const { config, clocks, marks, counters, failures, gate, inFlight, journal } = sources;
  const { origin, target } = clocks.skewMs;
  return {
    ...(journal ? { journal: waitingIn(journal) } : {}),
    skewMs: { origin, target },
    marksWaiting: marks.pendingCount,
    isBlind: inFlight?.isBlind ?? false,
    lastShadowFailureAt: failures.look(counters.shadowFailed, gate?.phase, new Date()),
    stopsWithLease: config.onLedgerLoss === 'stop',
  };
}

/** What the queue has not taken, and what it refuses for ever. */
function waitingIn(journal: Journal): NonNullable<ProxyRecord['journal']> {
  const { messages, setAside, bytes, oldestAtMs } = journal.health;
  const oldestAt = oldestAtMs === null ? null : new Date(oldestAtMs).toISOString();
  return { messages: messages + setAside, bytes, oldestAt };
}
