import { errorCodeOf } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, errorCodeName, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import type { Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { Outcome } from '../upstream/upstream-call.ts';

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

const OF_CONNECTIONS: ReadonlySet<number> = new Set([ErrorCode.OVERLOADED, ErrorCode.UNAUTHORIZED]);

export function effectOf(outcome: Outcome): Effect {
  if (outcome.kind === 'unsent') return 'notApplied';
  if (outcome.kind === 'lost') return 'unknown';
  if (opcodeOf(outcome.frame) !== Opcode.ERROR) return 'applied';
  return NOTHING_HAPPENED.has(errorCodeIn(outcome.frame)) ? 'notApplied' : 'unknown';
}

/**
 * Whether a write that the coordinator refused may have taken effect in part: the mutations of several partitions go out
 * one after the other, and the replicas of each are counted only then. A logged batch is looked at as a whole before.
 */
export function isPartly(request: ClientRequest, outcome: Outcome): boolean {
  const isUnavailable = outcome.kind === 'reply' && errorCodeIn(outcome.frame) === ErrorCode.UNAVAILABLE;
  if (!isUnavailable || request.batchKind === BatchKind.LOGGED) return false;
  return request.statements.length > 1 || request.statements.some(({ statement }) => mayBeOfSeveral(statement));
}

function mayBeOfSeveral(statement: Statement): boolean {
  if (statement.kind === 'batch') return statement.batchKind !== 'logged' && statement.children.length > 0;
  for (const { kind } of statement.boundColumns.values()) if (kind === 'list' || kind === 'listMarker') return true;
  return false;
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

/** The cluster does not permit the statement, or does not take the client's login at all. */
export function isForbidden(outcome: Outcome): boolean {
  if (outcome.kind === 'lost') return false;
  return (outcome.kind === 'unsent' ? outcome.code : errorCodeIn(outcome.frame)) === ErrorCode.UNAUTHORIZED;
}

/** In a few words, for logs and reports; never a value of the application. */
export function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'lost':
      return outcome.reason === 'timeout' ? 'Timeout' : 'the connection was lost';
    case 'unsent':
      // Servers quote what they refuse to prepare; the proxy's own words are about connections.
      return OF_CONNECTIONS.has(outcome.code) ? outcome.message : errorCodeName(outcome.code);
    case 'reply':
      return opcodeOf(outcome.frame) === Opcode.ERROR ? errorCodeName(errorCodeIn(outcome.frame)) : 'applied';
  }
}
