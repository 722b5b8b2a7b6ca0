import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compressBody, decompressBody } from '#core/cql/compression.ts';
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

  test('that announce more than the limit cost no memory', () => {
    const lie = compression === 'lz4' ? Buffer.from('7fffffff00', 'hex') : Buffer.from('ffffffff0700', 'hex');
    expect(() => decompressBody(lie, compression)).toThrow(ProtocolError);
  });
});
