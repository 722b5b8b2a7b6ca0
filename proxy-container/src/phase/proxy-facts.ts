import type { ProxyRecord } from '#core/ledger/records.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClockWatch } from '../writes/clock-watch.ts';

/** The parts of a proxy that its heartbeat tells of. */
export interface FactSources {
  readonly clocks: ClockWatch;
  readonly marks: SuspectMarks;
}

/** What a heartbeat tells of a proxy, beside its lease and its epochs: the gates of a change of phase go by it. */
export function factsOf({ clocks, marks }: FactSources): Partial<ProxyRecord> {
  const { origin, target } = clocks.skewMs;
  return { skewMs: { origin, target }, marksWaiting: marks.pendingCount };
}
