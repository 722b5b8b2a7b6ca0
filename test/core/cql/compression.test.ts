import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compressBody, compressFrame, decompressBody } from '#core/cql/compression.ts';
import { bodyOf, encodeFrame, flagsOf, streamIdOf } from '#core/cql/frame.ts';
import { FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { ProtocolError } from '#core/errors.ts';

describe.each(['lz4', 'snappy'] as const)('%s bodies', (compression) => {
  test('come back as they were', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer({ min: 1, max: 300 }), (unit, times) => {
        const body = Buffer.concat(new Array<Uint8Array>(times).fill(unit));
        expect(decompressBody(compressBody(body, compression), compression).equals(body)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('are refused when they are cut', () => {
    const whole = compressBody(Buffer.from('a body, a body, a body, a body, a body, a body'), compression);
    for (let cut = 0; cut < whole.length; cut++) {
      expect(() => decompressBody(whole.subarray(0, cut), compression), `cut at ${cut}`).toThrow(ProtocolError);
    }
  });

  test('of bytes that hardly repeat come back as well, also beyond the reach of a copy', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 200_000 }), fc.integer({ min: 1, max: 90_000 }), (length, period) => {
        const body = Buffer.from(
          Uint8Array.from({ length }, (_, index) => Math.imul(index % period, 2654435761) >>> 13),
        );
        expect(decompressBody(compressBody(body, compression), compression).equals(body)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test('of answers are compressed where that pays, and else leave as they are', () => {
    const answer = (body: Buffer) =>
      encodeFrame({ version: 4, isResponse: true, flags: FrameFlag.WARNING, streamId: 7, opcode: Opcode.RESULT }, body);
    const long = answer(Buffer.from('a row, '.repeat(1000)));
    const compressed = compressFrame(long, compression);
    expect(compressed.length).toBeLessThan(long.length / 10);
    expect([flagsOf(compressed), streamIdOf(compressed)]).toEqual([FrameFlag.WARNING | FrameFlag.COMPRESSION, 7]);
    expect(decompressBody(bodyOf(compressed), compression).equals(bodyOf(long))).toBe(true);
    const short = answer(Buffer.from('a row, '.repeat(100)));
    expect(compressFrame(short, compression)).toBe(short);
    const noise = answer(randomBytes(5000));
    expect(compressFrame(noise, compression)).toBe(noise);
  });

  test('that announce more than the limit cost no memory', () => {
    const lie = compression === 'lz4' ? Buffer.from('7fffffff00', 'hex') : Buffer.from('ffffffff0700', 'hex');
    expect(() => decompressBody(lie, compression)).toThrow(ProtocolError);
  });
});
