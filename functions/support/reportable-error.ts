import { z } from 'zod';
import { describeError, MigrationError, RequestTimeoutError, UsageError } from '#core/errors.ts';

/** Step Functions cuts a cause at 32,768 characters, in the middle of its JSON; ours stays whole. */
const MAX_MESSAGE_CHARACTERS = 8_000;

/**
 * The error as Lambda shall report it: its `name` becomes the error type that the state machines match. Ours pass
 * unchanged, what the platform throws gets a name of ours where a caller may want to tell it apart.
 */
export function toReportableError(thrown: unknown): Error {
  if (thrown instanceof MigrationError) return shorten(thrown);
  if (thrown instanceof z.ZodError) return shorten(new UsageError(`the input is wrong:\n${z.prettifyError(thrown)}`));
  const error = thrown instanceof Error ? thrown : new Error(describeError(thrown));
  if (error.name === 'AbortError' || error.name === 'TimeoutError') {
    // An abort carries the reason of whoever aborted, which is the error that was meant.
    if (error.cause instanceof MigrationError) return shorten(error.cause);
    return new RequestTimeoutError(`not answered in time: ${describeError(error)}`, { cause: error });
  }
  return shorten(error);
}

function shorten<E extends Error>(error: E): E {
  if (error.message.length > MAX_MESSAGE_CHARACTERS) {
    error.message = `${error.message.slice(0, MAX_MESSAGE_CHARACTERS)} … (cut)`;
  }
  return error;
}
