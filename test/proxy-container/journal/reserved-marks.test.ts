import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { rangesOf } from '#core/ledger/mark-places.ts';
import { MAX_TOKEN, MIN_TOKEN } from '#core/token/token.ts';
import { contains } from '#core/token/token-range.ts';
import {
  decodeSlot,
  encodeIdentity,
  FILE_BYTES,
  HEADER_BYTES,
  MAX_TOKENS,
  NARROW_BYTES,
  NARROW_SLOTS,
  PlaceImage,
  type SlotIdentity,
  WIDE_BYTES,
  WIDE_SLOTS,
} from '../../../proxy-container/src/journal/mark-slots.ts';
import { MarkedPlace } from '../../../proxy-container/src/journal/marked-place.ts';
import { KEYSPACE_SLOTS, ReservedMarks } from '../../../proxy-container/src/journal/reserved-marks.ts';

const directory = mkdtempSync(join(tmpdir(), 'ringshift-marks-'));
const path = join(directory, 'marks.bits');
const errors: string[] = [];
const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: (text: string) => errors.push(text) };

beforeEach(() => {
  rmSync(path, { force: true });
  errors.length = 0;
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const identity = (table: string): SlotIdentity => ({
  keyspace: 'shop',
  table,
  lacking: 'target',
  code: 'journal-full',
  reason: 'a shadow write failed and the journal is full',
  fromMs: 1_790_000_000_000,
});

/** What a process that starts now would find. */
function reopened<T>(look: (marks: ReservedMarks) => T): T {
  const marks = ReservedMarks.open(path, logger);
  try {
    return look(marks);
  } finally {
    marks.close();
  }
}

function covers(marks: ReservedMarks, table: string, token: bigint | null): boolean {
  if (marks.isEverything) return true;
  return marks.found.some((found) => {
    if (found.identity.table !== table) return false;
    if (found.places === undefined) return true;
    const record = new MarkedPlace(found.identity, found.places, 1).recordBy('p');
    return token !== null && !found.places.isEmpty && rangesOf(record).some((range) => contains(range, token));
  });
}

const token = fc.bigInt({ min: MIN_TOKEN + 1n, max: MAX_TOKEN });
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('add' as const), table: fc.nat(3), token }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('widen' as const), table: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('whole' as const), table: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('free' as const), table: fc.nat(3) }) },
);

/** Keeps places as the proxy does, and what it has promised. */
class Model {
  readonly marks = ReservedMarks.open(path, logger);
  readonly places = new Map<number, { slot: number; image: PlaceImage | undefined }>();
  promised: { table: string; token: bigint | null }[] = [];

  apply(one: { kind: 'add' | 'widen' | 'whole' | 'free'; table: number; token?: bigint }): void {
    const table = `t${one.table}`;
    let place = this.places.get(one.table);
    if (one.kind === 'free') {
      // Given back when the ledger has it: nothing is promised any more.
      this.promised = this.promised.filter((promise) => promise.table !== table);
      if (place) this.marks.free(place.slot);
      this.places.delete(one.table);
      return;
    }
    if (place === undefined) {
      const image = one.kind === 'whole' ? undefined : new PlaceImage();
      const slot = image ? this.marks.takeWide(identity(table), image) : this.marks.takeNarrow(identity(table));
      place = { slot: slot!, image };
      this.places.set(one.table, place);
    } else if (one.kind !== 'add') {
      this.marks.widen(place.slot);
      place.image = undefined;
    }
    if (one.kind === 'add' && place.image) {
      const block = place.image.add(one.token!);
      if (block >= 0) this.marks.writeBlock(place.slot, place.image, block);
      this.promised.push({ table, token: one.token! });
    } else if (one.kind !== 'widen' || place.image === undefined) this.promised.push({ table, token: null });
  }
}

describe('the file of suspect marks', () => {
  it('is reserved as a whole, with zeros, for its owner only', () => {
    reopened((marks) => expect(marks.found).toEqual([]));
    expect(statSync(path).size).toBe(FILE_BYTES);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const takes = new MarkedPlace(identity('t'), new PlaceImage(), 1);
    reopened((marks) => {
      takes.image?.add(7n);
      marks.takeWide(takes.identity, takes.image!);
    });
    expect(statSync(path).size).toBe(FILE_BYTES);
  });

  it('gives back every promised place, wherever the process was killed in the write after it', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), step, fc.nat(), (steps, last, cut) => {
        rmSync(path, { force: true });
        const model = new Model();
        for (const one of steps) model.apply(one);
        const before = readFileSync(path);
        const promised = last.kind === 'free' ? promisedWithout(model, last.table) : [...model.promised];
        model.apply(last);
        const after = readFileSync(path);
        model.marks.close();
        reopened((marks) => expect(model.promised.every((one) => covers(marks, one.table, one.token))).toBe(true));
        const changed = changedBytes(before, after);
        const end = changed.length === 0 ? 0 : changed[cut % changed.length]!;
        after.copy(before, 0, 0, end);
        writeFileSync(path, before);
        reopened((marks) => expect(promised.every((one) => covers(marks, one.table, one.token))).toBe(true));
        // What was found is not lost by looking.
        reopened((marks) => expect(promised.every((one) => covers(marks, one.table, one.token))).toBe(true));
      }),
      { numRuns: 30 },
    );
  });

  it('takes a damaged slot for its whole table, and one whose table can not be told for every table', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        token,
        (damages, isWide, one) => {
          rmSync(path, { force: true });
          const image = new PlaceImage();
          image.add(one);
          reopened((marks) => (isWide ? marks.takeWide(identity('t'), image) : marks.takeNarrow(identity('t'))));
          const bytes = readFileSync(path);
          const start = HEADER_BYTES + (isWide ? NARROW_SLOTS * NARROW_BYTES : 0);
          for (const [at, flip] of damages) bytes[start + (at % 1100)]! ^= flip;
          writeFileSync(path, bytes);
          reopened((marks) => expect(covers(marks, 't', one)).toBe(true));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('finds a token that was written in part at every byte', () => {
    const image = new PlaceImage();
    for (let count = 0; count < 5; count++) image.add(BigInt(count) * 1_000_003n - 2n ** 62n);
    const head = encodeIdentity(identity('t'))!;
    const slotOf = (places: Uint8Array) => {
      const slot = new Uint8Array(WIDE_BYTES);
      slot.set(head);
      slot.set(places, head.length);
      return slot;
    };
    const before = slotOf(image.bytes);
    image.add(123_456_789_012_345_678n);
    const after = slotOf(image.bytes);
    for (let cut = 0; cut <= WIDE_BYTES; cut++) {
      if (cut > 0 && cut < WIDE_BYTES && after[cut - 1] === before[cut - 1]) continue;
      const torn = after.slice();
      torn.set(before.subarray(cut), cut);
      const content = decodeSlot(torn);
      if (content.kind !== 'used') throw new Error(`cut at ${cut}: ${content.kind}`);
      if (content.places) expect([5, 6]).toContain(content.places.tokens.length);
    }
  });

  it('names 64 partitions by themselves and all further ones by their bucket', () => {
    const image = new PlaceImage();
    const tokens = Array.from({ length: 500 }, (_, index) =>
      BigInt.asIntN(64, BigInt(index) * 0x9e3779b97f4a7c15n + 1n),
    );
    const changes = tokens.map((one) => image.add(one));
    expect(changes.slice(0, MAX_TOKENS).every((block) => block > 0)).toBe(true);
    expect(tokens.every((one) => image.add(one) === -1)).toBe(true);
    expect(image.tokens).toEqual(tokens.slice(0, MAX_TOKENS));
    const read = PlaceImage.read(image.bytes)!;
    expect(read.tokens).toEqual(image.tokens);
    expect(read.buckets).toEqual(image.buckets);
    expect(tokens.every((one) => read.add(one) === -1)).toBe(true);
  });

  it('has slots for so many tables and no more, and keeps some for whole keyspaces', () => {
    reopened((marks) => {
      for (let count = 0; count < NARROW_SLOTS - KEYSPACE_SLOTS; count++) {
        expect(marks.takeNarrow(identity(`t${count}`))).toBe(count);
      }
      expect(marks.takeNarrow(identity('one_more'))).toBeUndefined();
      expect(marks.takeNarrow(identity('*'))).toBe(NARROW_SLOTS - KEYSPACE_SLOTS);
      for (let count = 0; count < WIDE_SLOTS; count++) {
        expect(marks.takeWide(identity(`t${count}`), new PlaceImage())).toBeGreaterThanOrEqual(NARROW_SLOTS);
      }
      expect(marks.takeWide(identity('one_more'), new PlaceImage())).toBeUndefined();
      marks.free(3);
      expect(marks.takeNarrow(identity('one_more'))).toBe(3);
    });
    reopened((marks) => expect(marks.found).toHaveLength(NARROW_SLOTS - KEYSPACE_SLOTS + 1 + WIDE_SLOTS));
  });

  it('marks everything when it was cut off or its header is not its own, until that is told', () => {
    reopened((marks) => marks.takeNarrow(identity('kept')));
    truncateSync(path, FILE_BYTES - 1);
    reopened((marks) => {
      expect(marks.isEverything).toBe(true);
      expect(marks.found.map((found) => found.identity.table)).toEqual(['kept']);
    });
    expect(statSync(path).size).toBe(FILE_BYTES);
    reopened((marks) => {
      expect(marks.isEverything).toBe(true);
      marks.setEverything(false);
    });
    reopened((marks) => expect(marks.isEverything).toBe(false));
    const bytes = readFileSync(path);
    bytes[4] = 9;
    writeFileSync(path, bytes);
    reopened((marks) => expect(marks.isEverything).toBe(true));
    expect(errors).toHaveLength(2);
  });

  it('has no identity for names that are longer than any', () => {
    expect(encodeIdentity({ ...identity('t'), reason: 'x'.repeat(1000) })).toBeDefined();
    expect(encodeIdentity(identity('x'.repeat(1000)))).toBeUndefined();
  });
});

function changedBytes(before: Buffer, after: Buffer): number[] {
  const changed: number[] = [];
  for (let sector = 0; sector < after.length; sector += 512) {
    if (before.subarray(sector, sector + 512).equals(after.subarray(sector, sector + 512))) continue;
    for (let at = sector; at < Math.min(sector + 512, after.length); at++)
      if (before[at] !== after[at]) changed.push(at);
  }
  return changed;
}

function promisedWithout(model: Model, table: number) {
  return model.promised.filter((promise) => promise.table !== `t${table}`);
}
