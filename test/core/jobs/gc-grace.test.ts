import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isTooOld, replayableForSeconds } from '#core/jobs/gc-grace.ts';
import type { TableSchema } from '#core/model/table-schema.ts';

const table = (gcGraceSeconds: number) => ({ gcGraceSeconds }) as TableSchema;
const DAY = 86_400;

test('a write is replayed as long as every tombstone that is newer than it is surely kept', () => {
  expect(replayableForSeconds(table(10 * DAY), DAY)).toBe(9 * DAY);
  // Of a table that keeps them for an hour only, half an hour.
  expect(replayableForSeconds(table(3600), DAY)).toBe(1800);
  expect(replayableForSeconds(table(0), DAY)).toBe(0);
  fc.assert(
    fc.property(fc.nat(20 * DAY), fc.nat(2 * DAY), (gcGraceSeconds, margin) => {
      const seconds = replayableForSeconds(table(gcGraceSeconds), margin);
      expect(seconds).toBeGreaterThanOrEqual(0);
      expect(seconds).toBeLessThanOrEqual(gcGraceSeconds);
    }),
  );
});

test('of a batch the table that forgets first decides', () => {
  const write = { writtenAtSeconds: 1_000_000 };
  const at = (ageSeconds: number) => (write.writtenAtSeconds + ageSeconds) * 1000;
  const tables = [table(10 * DAY), table(2 * DAY)];
  expect(isTooOld(write, tables, DAY, at(DAY))).toBe(false);
  expect(isTooOld(write, tables, DAY, at(DAY + 1))).toBe(true);
  expect(isTooOld(write, [table(0)], DAY, at(0))).toBe(false);
  expect(isTooOld(write, [table(0)], DAY, at(1))).toBe(true);
});
