import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeSegments, type SegmentCompression, SegmentSplitter } from '#core/cql/segment.ts';
import { ProtocolError } from '#core/errors.ts';
import { expectSame } from '../../support/expect-same.ts';

function frame(streamId: number, body: Uint8Array): Buffer {
  return encodeFrame({ version: 5, isResponse: true, flags: 0, streamId, opcode: Opcode.RESULT }, body);
}

function splitAll(chunks: readonly Buffer[], compression: SegmentCompression): Buffer[] {
  const splitter = new SegmentSplitter(compression);
  const frames: Buffer[] = [];
  for (const chunk of chunks) splitter.push(chunk, (one) => void frames.push(Buffer.from(one)));
  return frames;
}

describe.each(['none', 'lz4'] as const)('segments with compression %s', (compression) => {
  test('give the same frames wherever the stream is cut', () => {
    const frames = [frame(1, Buffer.from('first')), frame(2, Buffer.alloc(100, 1)), frame(3, Buffer.alloc(0))];
    const stream = Buffer.concat([...encodeSegments(frames, compression), ...encodeSegments(frames, compression)]);
    for (let cut = 0; cut <= stream.length; cut++) {
      expectSame(splitAll([stream.subarray(0, cut), stream.subarray(cut)], compression), [...frames, ...frames]);
    }
    expect(
      splitAll(
        [...stream].map((byte) => Buffer.of(byte)),
        compression,
      ),
    ).toEqual([...frames, ...frames]);
  });

  test('carry frames of any size, several in one or one in several', () => {
    const body = fc
      .tuple(fc.integer({ min: 0, max: 400_000 }), fc.integer({ min: 1, max: 70_000 }))
      .map(([length, period]) => Buffer.from(Uint8Array.from({ length }, (_, index) => (index % period) * 31)));
    fc.assert(
      fc.property(fc.array(body, { minLength: 1, maxLength: 4 }), (bodies) => {
        const frames = bodies.map((one, index) => frame(index, one));
        const segments = encodeSegments(frames, compression);
        expectSame(splitAll(segments, compression), frames);
        for (const segment of segments) expect(segment.length).toBeLessThan(131_100);
      }),
      { numRuns: 30 },
    );
  });

  test.each([1, 100])('are refused when any byte is flipped, with %i times the same in them', (times) => {
    const body = Buffer.from('some body that may be compressed'.repeat(times));
    const [segment] = encodeSegments([frame(1, body)], compression);
    for (let index = 0; index < segment!.length; index++) {
      const broken = Buffer.from(segment!);
      broken[index]! ^= 0x10;
      expect(() => splitAll([broken], compression), `byte ${index}`).toThrow(ProtocolError);
    }
  });
});

test('a plain segment is byte for byte what the specification says', () => {
  // header: 9 bytes of payload | self-contained = 0x020009, little-endian; then its CRC24
  const ready = encodeFrame(
    { version: 5, isResponse: true, flags: 0, streamId: 0, opcode: Opcode.READY },
    Buffer.alloc(0),
  );
  const [segment] = encodeSegments([ready], 'none');
  expect(segment!.subarray(0, 3).toString('hex')).toBe('090002');
  expect(segment!.length).toBe(6 + 9 + 4);
});

test('a segment that ends inside a frame is refused when it claims to be self-contained', () => {
  const half = frame(1, Buffer.from('body')).subarray(0, 11);
  const segments = encodeSegments([half], 'none');
  expect(() => splitAll(segments, 'none')).toThrow(/ends inside a frame/);
});
