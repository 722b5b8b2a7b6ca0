import { expect, test } from 'vitest';
import { serverError } from '#adapters/cql/connection-errors.ts';
import { ErrorCode } from '#core/cql/protocol.ts';

test.each([
  ['SERVER_ERROR', true],
  ['OVERLOADED', true],
  ['WRITE_TIMEOUT', true],
  ['INVALID', false],
  ['UNAUTHORIZED', false],
] as const)('whether %s may go away by itself: %s', (name, isRetryable) => {
  const node = { cluster: 'target', host: '10.0.0.7', port: 9042 };
  expect(serverError(node, { code: ErrorCode[name], message: 'no' }).retryable).toBe(isRetryable);
});
