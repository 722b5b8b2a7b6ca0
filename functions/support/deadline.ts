import type { Context } from 'aws-lambda';
import { RequestTimeoutError } from '#core/errors.ts';

/** Time that a job gets to write its checkpoint and return. At most a third of what it has. */
const CHECKPOINT_MARGIN_MS = 60_000;
/** Before the platform ends the function, everything that still waits is told to stop, so that the error has a name. */
const ABORT_MARGIN_MS = 3_000;

export interface Deadline {
  /** When to return with a checkpoint. Milliseconds since the epoch. */
  readonly deadlineMillis: number;
  /** Fires shortly before the platform's own time-out. */
  readonly signal: AbortSignal;
  readonly clear: () => void;
}

/** What is left of this invocation. */
export function startDeadline(context: Pick<Context, 'getRemainingTimeInMillis'>, nowMillis: number): Deadline {
  const remainingMs = context.getRemainingTimeInMillis();
  const controller = new AbortController();
  const timer = setTimeout(
    () =>
      controller.abort(
        new RequestTimeoutError('the function came to the end of its time; raise its time-out or cut smaller ranges'),
      ),
    Math.max(0, remainingMs - ABORT_MARGIN_MS),
  );
  return {
    deadlineMillis: nowMillis + remainingMs - Math.min(CHECKPOINT_MARGIN_MS, remainingMs / 3),
    signal: controller.signal,
    clear: () => clearTimeout(timer),
  };
}
