import { expect, test } from 'vitest';
import { mayRetry, type RetryPolicy } from '#adapters/cql/retry.ts';
import { ErrorCode } from '#core/cql/protocol.ts';
import { ClusterUnreachableError, RequestTimeoutError, ServerError } from '#core/errors.ts';

const policy: RetryPolicy = {
  maxAttempts: 3,
  minDelayMs: 1,
  maxDelayMs: 2,
  on: ['timeout', 'unavailable', 'overloaded'],
};
const idempotent = { isIdempotent: true, isNeverRepeated: false };
const unknown = { isIdempotent: false, isNeverRepeated: false };
const counter = { isIdempotent: false, isNeverRepeated: true };

function server(code: number): ServerError {
  return new ServerError('m', code, true);
}

test.each([
  ['a timestamped write that timed out', new RequestTimeoutError('m'), true, idempotent, true],
  ['a write of unknown effect that timed out', new RequestTimeoutError('m'), true, unknown, false],
  ['a counter that timed out', new RequestTimeoutError('m'), true, counter, false],
  ['a timestamped write whose connection broke', new ClusterUnreachableError('m'), true, idempotent, true],
  ['a counter whose connection broke', new ClusterUnreachableError('m'), true, counter, false],
  ['a counter that was never sent', new ClusterUnreachableError('m'), false, counter, true],
  ['an unavailable write of unknown effect: no replica was asked', server(ErrorCode.UNAVAILABLE), true, unknown, true],
  ['an unavailable counter', server(ErrorCode.UNAVAILABLE), true, counter, false],
  ['an overloaded timestamped write', server(ErrorCode.OVERLOADED), true, idempotent, true],
  ['an overloaded write of unknown effect', server(ErrorCode.OVERLOADED), true, unknown, false],
  ['a write time-out of a timestamped write', server(ErrorCode.WRITE_TIMEOUT), true, idempotent, true],
  ['an invalid statement', server(ErrorCode.INVALID), true, idempotent, false],
  ['a refused right', server(ErrorCode.UNAUTHORIZED), true, idempotent, false],
] as const)('%s: retried %#', (_, error, wasSent, request, expected) => {
  expect(mayRetry(error, wasSent, request, policy)).toBe(expected);
});

test('only what the policy names is retried', () => {
  expect(mayRetry(new RequestTimeoutError('m'), true, idempotent, { ...policy, on: ['unavailable'] })).toBe(false);
});
