import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type ChunkRecord, ChunkWriter, readChunk } from '../../../proxy-container/src/journal/chunk.ts';

const name = fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' });
const token = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const table = fc.record({ keyspace: name, table: name });
const time = fc.integer({ min: 0, max: 2 ** 45 });
const write = fc
  .record({
    destination: fc.constantFrom('origin', 'target'),
    isReadBack: fc.boolean(),
    version: fc.integer({ min: 3, max: 5 }),
    opcode: fc.integer({ min: 0, max: 255 }),
    epoch: fc.integer({ min: 0, max: 2 ** 31 }),
    failedAtMs: time,
    takenAtSeconds: time,
    timestampMicros: fc.option(token, { nil: undefined }),
    reason: fc.string({ maxLength: 40, unit: 'grapheme' }),
    keyspace: fc.option(name, { nil: undefined }),
    tables: fc.array(
      fc.oneof(
        table,
        fc.record({ keyspace: name, table: name, tokens: fc.array(token, { minLength: 1, maxLength: 3 }) }),
      ),
      { maxLength: 3 },
    ),
    statements: fc.array(
      fc.record({ text: fc.option(name, { nil: undefined }), types: fc.option(name, { nil: undefined }) }),
      { maxLength: 3 },
    ),
    frame: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
    offset: fc.integer({ min: 0, max: 100 }),
  })
  .map((one) => ({ kind: 'write', ...one }) as const);
const message = fc
  .record({
    failedAtMs: time,
    tables: fc.array(table, { maxLength: 2 }),
    text: fc.string({ maxLength: 60, unit: 'grapheme' }),
  })
  .map((one) => ({ kind: 'message', ...one }) as const);

/** Adds records until one finds no room. */
function fill(writer: ChunkWriter, records: readonly ChunkRecord[]): number {
  let added = 0;
  for (const { kind, ...record } of records) {
    const isAdded =
      kind === 'write'
        ? writer.add(record as Parameters<ChunkWriter['add']>[0])
        : writer.addMessage(record as Parameters<ChunkWriter['addMessage']>[0]);
    if (!isAdded) break;
    added++;
  }
  return added;
}

const bytesOf = (writer: ChunkWriter): Buffer => Buffer.from(writer.shared, 0, writer.byteLength);

test('a chunk holds what was put into it, in its order, and nothing of what found no room', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(write, message), { maxLength: 12 }),
      fc.integer({ min: 0, max: 4000 }),
      (all, size) => {
        const writer = new ChunkWriter(new SharedArrayBuffer(size));
        const added = fill(writer, all);
        expect([...readChunk(bytesOf(writer))]).toEqual(all.slice(0, added));
        expect(writer.writeCount).toBe(added);
        const tables = new Set(
          all.slice(0, added).flatMap((one) => one.tables.map((of) => `${of.keyspace} ${of.table}`)),
        );
        expect(new Set(writer.tables.map((of) => `${of.keyspace} ${of.table}`))).toEqual(tables);
      },
    ),
  );
});

test('a chunk that breaks off is told from a whole one, or has fewer records', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(write, message), { minLength: 1, maxLength: 4 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (all, share) => {
        const writer = new ChunkWriter(new SharedArrayBuffer(20_000));
        fill(writer, all);
        const whole = bytesOf(writer);
        const cut = whole.subarray(0, Math.floor(whole.length * share));
        let read: ChunkRecord[] | undefined;
        try {
          read = [...readChunk(cut)];
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
        if (read && cut.length < whole.length) expect(read.length).toBeLessThan(all.length);
      },
    ),
  );
});
