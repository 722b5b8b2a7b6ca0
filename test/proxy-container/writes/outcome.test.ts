import { expect, test } from 'vitest';
import { encodeError } from '#core/cql/error-message.ts';
import { encodeFrame } from '#core/cql/frame.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { describeOutcome, effectOf } from '../../../proxy-container/src/writes/outcome.ts';

const frameOf = (body: Buffer, flags = 0) =>
  encodeFrame({ version: 4, isResponse: true, flags, streamId: 1, opcode: Opcode.ERROR }, body);
const errorOf = (code: number) => frameOf(encodeError({ code, message: 'no' }, 4));

const PROOFS = new Set<number>([
  ErrorCode.UNAVAILABLE,
  ErrorCode.IS_BOOTSTRAPPING,
  ErrorCode.SYNTAX_ERROR,
  ErrorCode.UNAUTHORIZED,
  ErrorCode.INVALID,
  ErrorCode.CONFIG_ERROR,
  ErrorCode.ALREADY_EXISTS,
  ErrorCode.UNPREPARED,
]);

test.each([...Object.entries(ErrorCode), ['a code of a later version', 0x7777] as const])(
  '%s proves that nothing was applied, or leaves it open',
  (_, code) => {
    const expected = PROOFS.has(code) ? 'notApplied' : 'unknown';
    expect(effectOf({ kind: 'reply', frame: errorOf(code) })).toBe(expected);
  },
);

test('an overloaded primary may have applied the write', () => {
  expect(effectOf({ kind: 'reply', frame: errorOf(ErrorCode.OVERLOADED) })).toBe('unknown');
});

test('an ERROR that can not be read leaves everything open and throws nothing', () => {
  const outcome = { kind: 'reply', frame: frameOf(Buffer.from([0xff]), FrameFlag.WARNING) } as const;
  expect(effectOf(outcome)).toBe('unknown');
  expect(describeOutcome(outcome)).toBeTypeOf('string');
});

test('a server quotes what it does not prepare, so its words are not passed on to logs and reports', () => {
  const refused = {
    kind: 'unsent',
    code: ErrorCode.INVALID,
    message: 'Invalid constant (\'secret\') for "v"',
  } as const;
  expect(describeOutcome(refused)).toBe('INVALID');
  expect(describeOutcome({ kind: 'unsent', code: ErrorCode.OVERLOADED, message: 'no connection' })).toBe(
    'no connection',
  );
});
