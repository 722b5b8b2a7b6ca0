import { errorCodeOf } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, errorCodeName, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import type { Outcome } from './upstream/upstream-call.ts';

/** Whether a write took effect, as far as its outcome tells. */
export type Effect = 'applied' | 'notApplied' | 'unknown';

/** Errors behind which a write may have reached some replicas. */
const UNKNOWN_CODES: ReadonlySet<number> = new Set([
  ErrorCode.SERVER_ERROR,
  ErrorCode.WRITE_TIMEOUT,
  ErrorCode.WRITE_FAILURE,
  ErrorCode.CDC_WRITE_FAILURE,
  ErrorCode.CAS_WRITE_UNKNOWN,
  ErrorCode.TRUNCATE_ERROR,
]);

export function effectOf(outcome: Outcome): Effect {
  if (outcome.kind === 'unsent') return 'notApplied';
  if (outcome.kind === 'lost') return 'unknown';
  if (opcodeOf(outcome.frame) !== Opcode.ERROR) return 'applied';
  return UNKNOWN_CODES.has(errorCodeIn(outcome.frame)) ? 'unknown' : 'notApplied';
}

/** The code of an ERROR frame. */
export function errorCodeIn(frame: Buffer): number {
  const body = bodyOf(frame);
  return errorCodeOf(body, responseOffset(flagsOf(frame), body));
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
