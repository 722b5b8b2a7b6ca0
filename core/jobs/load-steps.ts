/** A load in one process: whatever becomes of it, its indexes are brought back and the run is ended. */

import { describeError, MigrationError, RunFailedError } from '../errors.ts';
import type { Clock, Logger } from '../ports.ts';
import type { RestoreResult } from './restore-indexes.ts';
import type { RunSummary } from './summarize-run.ts';

export interface LoadSteps {
  /** undefined when the plan has no indexes to drop; then none are restored either. */
  readonly drop: ((signal: AbortSignal) => Promise<unknown>) | undefined;
  readonly load: (signal: AbortSignal) => Promise<void>;
  /** May be called again after a failure; `onLook` is called whenever the target has answered. */
  readonly restore: (signal: AbortSignal, onLook: () => void) => Promise<RestoreResult>;
  readonly summarize: () => Promise<RunSummary>;
}

interface LoadStepsPorts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** How long the target may be away while indexes are brought back: it may be why the load has failed. */
const PATIENCE_MS = 15 * 60_000;
const FIRST_PAUSE_MS = 2000;
const MAX_PAUSE_MS = 60_000;

/** What interrupts of the process end: the first one the load, the next one the building of its indexes. */
export class LoadInterrupt {
  readonly #runId: string;
  readonly #load = new AbortController();
  readonly #restore = new AbortController();
  #isRestoring = false;

  constructor(runId: string) {
    this.#runId = runId;
  }

  get loading(): AbortSignal {
    return this.#load.signal;
  }

  get restoring(): AbortSignal {
    return this.#restore.signal;
  }

  startRestore(): void {
    this.#isRestoring = true;
  }

  /** Gives what to tell the person who interrupts. */
  interrupt(): string {
    if (this.#isRestoring || this.#load.signal.aborted) {
      const text = `indexes that are not back: ringshift load stop ${this.#runId} goes on with them`;
      this.#restore.abort(new RunFailedError(`${this.#runId} was interrupted while its indexes were built; ${text}`));
      return text;
    }
    this.#load.abort(new RunFailedError(`${this.#runId} was interrupted`));
    return `${this.#runId} is ending; indexes that it has dropped are built first (interrupt again to leave that to: ringshift load stop ${this.#runId})`;
  }
}

/**
 * Drops, loads, restores and sums up.
 * @throws what dropping or loading threw, after the run has been ended; with the indexes that are still owed
 */
export async function runLoadSteps(
  steps: LoadSteps,
  interrupt: LoadInterrupt,
  ports: LoadStepsPorts,
): Promise<RunSummary> {
  let failure: { readonly error: unknown } | undefined;
  try {
    interrupt.loading.throwIfAborted();
    await steps.drop?.(interrupt.loading);
    await steps.load(interrupt.loading);
  } catch (error) {
    failure = { error };
  }
  interrupt.startRestore();
  if (steps.drop !== undefined) {
    try {
      await restorePatiently(steps, interrupt.restoring, ports);
    } catch (error) {
      ports.logger.error('indexes are not restored; run: ringshift indexes restore', { error: describeError(error) });
    }
  }
  const summary = await steps.summarize();
  if (failure === undefined) return summary;
  const owed = summary.owedIndexes ?? [];
  if (owed.length === 0) throw failure.error;
  throw new RunFailedError(
    `${describeError(failure.error)}\nsecondary indexes of the target are dropped and not back: ${owed.join(', ')}; run: ringshift indexes restore`,
    { cause: failure.error },
  );
}

async function restorePatiently(steps: LoadSteps, signal: AbortSignal, ports: LoadStepsPorts): Promise<void> {
  let failingSince: number | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  const onLook = () => {
    failingSince = undefined;
    pauseMs = FIRST_PAUSE_MS;
  };
  for (;;) {
    signal.throwIfAborted();
    try {
      await steps.restore(signal, onLook);
      return;
    } catch (error) {
      const now = ports.clock.nowMillis();
      failingSince ??= now;
      if (!(error instanceof MigrationError) || !error.retryable || now - failingSince > PATIENCE_MS) throw error;
      ports.logger.warn('restoring indexes is tried again', { error: describeError(error), pauseMs });
    }
    await ports.sleep(pauseMs, signal);
    pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2);
  }
}
