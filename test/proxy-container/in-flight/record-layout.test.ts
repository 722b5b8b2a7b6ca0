import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeSegmentHeader,
  decodeTableBody,
  encodeSegmentHeader,
  encodeTableBody,
  HEADER_BYTES,
  MAX_BODY_BYTES,
  RECORD_BYTES,
  RecordKind,
  recordsIn,
  sealRecord,
} from '../../../proxy-container/src/in-flight/record-layout.ts';

const header = { number: 2 ** 33 + 7, startedAtMs: 1_800_000_000_000, bootId: '5c2b1a66-0b0f-4e21-8c1a-0f6e1c8a9d10' };
const bodies = [Buffer.from([1, 2, 3]), Buffer.alloc(24, 7), Buffer.alloc(0)];

function record(body: Buffer, firstSequence: number, segment = header.number): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(RECORD_BYTES), body]);
  const length = sealRecord(bytes, body.length, RecordKind.WRITES, firstSequence, 2 ** 45 + 1, 2 ** 50 + 3, segment);
  return bytes.subarray(0, length);
}

const segment = Buffer.concat([encodeSegmentHeader(header), ...bodies.map((body, index) => record(body, index))]);

test('a segment is read as it was written, numbers beyond 32 bits included', () => {
  expect(decodeSegmentHeader(segment)).toEqual(header);
  const records = [...recordsIn(segment, header.number)];
  expect(records.map(({ body }) => Buffer.from(body))).toEqual(bodies);
  expect(records.map(({ firstSequence }) => firstSequence)).toEqual([0, 1, 2]);
  expect(records[2]).toMatchObject({ lowWater: 2 ** 45 + 1, lastTimestampMicros: 2 ** 50 + 3 });
});

test('cut at any byte, a segment has the records that are whole, and no other', () => {
  const ends = bodies.map((_, index) =>
    bodies.slice(0, index + 1).reduce((sum, body) => sum + RECORD_BYTES + body.length, HEADER_BYTES),
  );
  for (let cut = HEADER_BYTES; cut <= segment.length; cut++) {
    const whole = ends.filter((end) => end <= cut).length;
    expect([...recordsIn(segment.subarray(0, cut), header.number)]).toHaveLength(whole);
  }
  for (let cut = 0; cut < HEADER_BYTES; cut++) expect(decodeSegmentHeader(segment.subarray(0, cut))).toBeUndefined();
});

test('a bit that flips costs its record and those behind it, and never makes another one of it', () => {
  fc.assert(
    fc.property(fc.integer({ min: HEADER_BYTES, max: segment.length - 1 }), fc.nat(7), (at, bit) => {
      const flipped = Buffer.from(segment);
      flipped[at]! ^= 1 << bit;
      const found = [...recordsIn(flipped, header.number)].map(({ body }) => Buffer.from(body));
      expect(found.length).toBeLessThan(bodies.length);
      expect(found).toEqual(bodies.slice(0, found.length));
    }),
  );
  for (let at = 0; at < 64; at++) {
    const flipped = Buffer.from(segment);
    flipped[at]! ^= 1;
    expect(decodeSegmentHeader(flipped)).toBeUndefined();
  }
});

test('what an earlier use of the same file has left behind the end is not read', () => {
  const reused = Buffer.concat([encodeSegmentHeader(header), record(bodies[0]!, 9), record(bodies[1]!, 1, 3)]);
  expect([...recordsIn(reused, header.number)]).toHaveLength(1);
});

test('zeros, and lengths that no record has, end a segment', () => {
  const zeros = Buffer.concat([segment, Buffer.alloc(500)]);
  expect([...recordsIn(zeros, header.number)]).toHaveLength(3);
  const long = Buffer.from(segment);
  long.writeUInt32LE(MAX_BODY_BYTES + 1, HEADER_BYTES + 8);
  expect([...recordsIn(long, header.number)]).toHaveLength(0);
});

test('tables keep their names', () => {
  fc.assert(
    fc.property(
      fc.nat(65_535),
      fc.string({ maxLength: 48 }),
      fc.string({ maxLength: 222 }),
      (index, keyspace, table) => {
        const back = decodeTableBody(encodeTableBody(index, keyspace.toWellFormed(), table.toWellFormed()));
        expect(back).toEqual({ index, keyspace: keyspace.toWellFormed(), table: table.toWellFormed() });
      },
    ),
  );
});
