import { errorCodeOf } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, errorCodeName, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import type { Outcome } from './upstream/upstream-call.ts';

/** Whether a write took effect, as far as its outcome tells. */
export type Effect = 'applied' | 'notApplied' | 'unknown';

/**
 * The errors that a coordinator gives before it has sent a mutation anywhere. Behind every other one, OVERLOADED and
 * codes of later versions included, some replicas may have it.
 */
const NOTHING_HAPPENED: ReadonlySet<number> = new Set([
  ErrorCode.UNAVAILABLE,
  ErrorCode.IS_BOOTSTRAPPING,
  ErrorCode.SYNTAX_ERROR,
  ErrorCode.UNAUTHORIZED,
  ErrorCode.INVALID,
  ErrorCode.CONFIG_ERROR,
  ErrorCode.ALREADY_EXISTS,
  ErrorCode.UNPREPARED,
]);

export function effectOf(outcome: Outcome): Effect {
  if (outcome.kind === 'unsent') return 'notApplied';
  if (outcome.kind === 'lost') return 'unknown';
  if (opcodeOf(outcome.frame) !== Opcode.ERROR) return 'applied';
  return NOTHING_HAPPENED.has(errorCodeIn(outcome.frame)) ? 'notApplied' : 'unknown';
}

/** The code of an ERROR frame; -1 when the frame is broken. Never throws: what follows a reply must always happen. */
export function errorCodeIn(frame: Buffer): number {
  const body = bodyOf(frame);
  try {
    return errorCodeOf(body, responseOffset(flagsOf(frame), body));
  } catch {
    return -1;
  }
}

/** In a few words, for logs and reports; never a value of the application. */
export function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'lost':
      return outcome.reason === 'timeout' ? 'Timeout' : 'the connection was lost';
    case 'unsent':
      return outcome.message;
    case 'reply':
      return opcodeOf(outcome.frame) === Opcode.ERROR ? errorCodeName(errorCodeIn(outcome.frame)) : 'applied';
  }
}
