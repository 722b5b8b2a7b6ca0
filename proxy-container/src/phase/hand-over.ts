import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '#core/config/schema.ts';
import { primaryOf } from '#core/ledger/phase-change.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClockWatch } from '../writes/clock-watch.ts';
import type { FailedWrites } from '../writes/failed-writes.ts';

/** Clocks that differ by more make the proxy unready long before. */
const MAX_CLOCK_WAIT_MS = 2_000;

export interface HandOverOptions {
  readonly marks: SuspectMarks;
  readonly clocks: ClockWatch;
  /** undefined: the proxy has not begun to serve. */
  readonly failedWrites: FailedWrites | undefined;
}

/**
 * Makes ready for a phase with another primary: the ledger knows every table that may lack something, and the clock of
 * the next primary has passed every write time that was given, so that what it decides from then on is newer.
 * @returns false: the ledger could not be told all of it
 */
export async function prepareHandOver(next: Phase, { marks, clocks, failedWrites }: HandOverOptions): Promise<boolean> {
  await failedWrites?.idle();
  await marks.flush();
  await sleep(Math.min(Math.ceil(clocks.behindMs(primaryOf(next))), MAX_CLOCK_WAIT_MS));
  return marks.pendingCount === 0;
}
