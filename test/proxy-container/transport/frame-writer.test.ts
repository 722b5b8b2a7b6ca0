import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { SegmentSplitter } from '#core/cql/segment.ts';
import { Flusher, FrameWriter } from '../../../proxy-container/src/transport/frame-writer.ts';

/** Stands for a socket, and keeps what would be one system call each: the buffers of a write, never a part of one. */
class Calls extends Duplex {
  readonly calls: Buffer[][] = [];

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.calls.push([Buffer.from(chunk)]);
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.calls.push(chunks.map(({ chunk }) => Buffer.from(chunk)));
    done();
  }
}

const frameOf = (streamId: number, bytes: number): Buffer =>
  encodeFrame(
    { version: 5, isResponse: true, flags: 0, streamId, opcode: Opcode.RESULT },
    Buffer.alloc(bytes, `row ${streamId}`),
  );

test.each(['none', 'lz4'] as const)('every v5 segment leaves whole, compression %s', (compression) => {
  const calls = new Calls();
  const writer = new FrameWriter(calls as unknown as Socket, new Flusher());
  writer.startSegments(compression);
  const sizes = [0, 10, 9000, 400_000, 20, 131_000, 131_072];
  for (const [streamId, bytes] of sizes.entries()) writer.write(frameOf(0, bytes), streamId);
  writer.flush();
  // One turn of the event loop is one call.
  expect(calls.calls.length).toBe(1);
  const frames: Buffer[] = [];
  const splitter = new SegmentSplitter(compression);
  for (const segment of calls.calls[0]!) {
    const whole = frames.length;
    splitter.push(segment, (frame) => void frames.push(Buffer.from(frame)));
    // What a buffer holds is one segment from its first byte to its last: a lone header or checksum would fail here.
    const alone = new SegmentSplitter(compression);
    const own: Buffer[] = [];
    const header = compression === 'lz4' ? 8 : 6;
    const bits = compression === 'lz4' ? segment.readUIntLE(0, 5) : segment.readUIntLE(0, 3);
    expect(segment.length).toBe(header + (bits % 2 ** 17) + 4);
    const isSelfContained = Math.floor(bits / 2 ** (compression === 'lz4' ? 34 : 17)) % 2 === 1;
    if (!isSelfContained) continue;
    alone.push(segment, (frame) => void own.push(Buffer.from(frame)));
    expect(own).toEqual(frames.slice(whole));
  }
  expect(frames.map((frame) => frame.length - 9)).toEqual(sizes);
  expect(frames.map((frame) => frame.readInt16BE(2))).toEqual([...sizes.keys()]);
});

test.each(['none', 'lz4'] as const)(
  'small frames of one turn share a segment that is not compressed, %s',
  (compression) => {
    const calls = new Calls();
    const writer = new FrameWriter(calls as unknown as Socket, new Flusher());
    writer.startSegments(compression);
    const frames = Array.from({ length: 100 }, (_, streamId) => frameOf(streamId, 100));
    for (let turn = 0; turn < 2; turn++) {
      for (const [streamId, frame] of frames.entries()) writer.write(frame, streamId);
      writer.flush();
    }
    const header = compression === 'lz4' ? 8 : 6;
    const payload = Buffer.concat(frames);
    expect(calls.calls.map((call) => call.length)).toEqual([1, 1]);
    for (const [segment] of calls.calls) {
      expect(segment!.subarray(header, header + payload.length)).toEqual(payload);
      expect(segment!.length).toBe(header + payload.length + 4);
    }
  },
);

/** A peer that reads nothing: the first write never ends. */
class Deaf extends Duplex {
  override _read(): void {}

  override _write(): void {}
}

test('what waits for a peer that does not read takes the memory that is counted', async () => {
  class Lender extends Flusher {
    lent = 0;

    override borrow(): Buffer {
      this.lent++;
      return super.borrow();
    }

    override giveBack(slabs: readonly Buffer[]): void {
      this.lent -= slabs.length;
      super.giveBack(slabs);
    }
  }
  const flusher = new Lender();
  const writer = new FrameWriter(new Deaf() as unknown as Socket, flusher);
  const small = frameOf(0, 20);
  const turns = 4000;
  for (let turn = 0; turn < turns; turn++) {
    writer.write(small, 1);
    writer.flushTurn();
  }
  expect(writer.bufferedBytes).toBe(turns * small.length);
  expect(flusher.lent * 16 * 1024).toBeLessThan(writer.bufferedBytes + 4 * 16 * 1024);
});
