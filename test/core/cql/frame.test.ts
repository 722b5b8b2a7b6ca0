import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeFrame, FrameSplitter, opcodeOf, setStreamId, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { ProtocolError } from '#core/errors.ts';

function frame(streamId: number, body: Uint8Array, version = 4): Buffer {
  return encodeFrame({ version, isResponse: true, flags: 0, streamId, opcode: Opcode.RESULT }, body);
}

function splitAll(chunks: readonly Buffer[]): Buffer[] {
  const splitter = new FrameSplitter();
  const frames: Buffer[] = [];
  for (const chunk of chunks) splitter.push(chunk, (one) => void frames.push(Buffer.from(one)));
  expect(splitter.isInsideFrame).toBe(false);
  return frames;
}

describe('the frame splitter', () => {
  test('gives the same frames wherever the stream is cut', () => {
    const frames = [frame(1, Buffer.from('first')), frame(2, Buffer.alloc(0)), frame(-1, Buffer.alloc(40, 7))];
    const stream = Buffer.concat(frames);
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(splitAll([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(frames);
    }
    expect(splitAll([...stream].map((byte) => Buffer.of(byte)))).toEqual(frames);
  });

  test('gives back any frames from any chunks', () => {
    const bodies = fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 });
    fc.assert(
      fc.property(bodies, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (all, sizes) => {
        const frames = all.map((body, index) => frame(index, body));
        const stream = Buffer.concat(frames);
        const chunks: Buffer[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const size = sizes[turn % sizes.length]!;
          chunks.push(stream.subarray(at, at + size));
          at += size;
        }
        expect(splitAll(chunks)).toEqual(frames);
      }),
    );
  });

  test('hands out views, not copies, of frames inside one chunk', () => {
    const chunk = Buffer.concat([frame(1, Buffer.from('a')), frame(2, Buffer.from('b'))]);
    new FrameSplitter().push(chunk, (one) => {
      expect(one.buffer).toBe(chunk.buffer);
    });
  });

  test('stops when told to, and gives the rest back in order', () => {
    const stream = Buffer.concat([frame(1, Buffer.from('a')), frame(2, Buffer.from('b')), Buffer.from('tail')]);
    for (let cut = 1; cut < stream.length; cut++) {
      const splitter = new FrameSplitter();
      const seen: number[] = [];
      let rest: Buffer | undefined;
      for (const chunk of [stream.subarray(0, cut), stream.subarray(cut)]) {
        if (rest) rest = Buffer.concat([rest, chunk]);
        else {
          splitter.push(chunk, (one) => {
            seen.push(streamIdOf(one));
            return false;
          });
          if (seen.length > 0) rest = splitter.takeRest();
        }
      }
      expect(seen).toEqual([1]);
      expect(rest).toEqual(stream.subarray(10));
    }
  });

  test('goes on behind the frame it stopped at when pushed again', () => {
    const stream = Buffer.concat([frame(1, Buffer.from('a')), frame(2, Buffer.from('b'))]);
    const splitter = new FrameSplitter();
    const seen: number[] = [];
    splitter.push(stream, (one) => {
      seen.push(streamIdOf(one));
      return false;
    });
    splitter.push(frame(3, Buffer.from('c')), (one) => void seen.push(streamIdOf(one)));
    expect(seen).toEqual([1, 2, 3]);
  });

  test.each([
    ['an unknown version', Buffer.from('420000000500000000', 'hex')],
    ['a negative length', Buffer.from('8400000008ffffffff', 'hex')],
    ['a length over the limit', Buffer.from('840000000810000001', 'hex')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
  ])('refuses %s', (_, bytes) => {
    for (const chunks of [[bytes], [...bytes].map((byte) => Buffer.of(byte))]) {
      const splitter = new FrameSplitter();
      expect(() => {
        for (const chunk of chunks) splitter.push(chunk, () => undefined);
      }).toThrow(ProtocolError);
    }
  });
});

test('a stream id is signed and rewritten in place', () => {
  const bytes = frame(5, Buffer.from('body'));
  for (const id of [0, 1, 255, 256, 32767, -1, -32768]) {
    setStreamId(bytes, id);
    expect(streamIdOf(bytes)).toBe(id);
  }
  expect([versionOf(bytes), opcodeOf(bytes), bytes.subarray(9).toString()]).toEqual([4, Opcode.RESULT, 'body']);
});
