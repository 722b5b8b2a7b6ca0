import { expect, test } from 'vitest';
import { compareDumps, type DumpedCell, readDump } from '../../../../infra/local/demo/sstable-cells.ts';

/** As sstabledump of 4.1 prints a row whose cells share its time, save for a later element and one that expires. */
const dump = JSON.stringify([
  {
    partition: { key: ['account-1'], position: 0 },
    rows: [
      { type: 'static_block', position: 20, cells: [{ name: 'owner', value: 'me', tstamp: '90' }] },
      {
        type: 'row',
        position: 30,
        clustering: [7],
        liveness_info: { tstamp: '100' },
        cells: [
          { name: 'label', value: 'seven' },
          { name: 'tags', deletion_info: { marked_deleted: '99', local_delete_time: '1' } },
          { name: 'tags', path: ['a'], value: '' },
          { name: 'tags', path: ['b'], value: '', tstamp: '200', ttl: 60, expires_at: '5000', expired: false },
          { name: 'scores', path: ['x'], deletion_info: { local_delete_time: '1' }, tstamp: '150' },
          { name: 'history', path: ['0c5f0830-0000-11ee'], value: 'first' },
          { name: 'history', path: ['0c5f0831-0000-11ee'], value: 'second' },
        ],
      },
      { type: 'range_tombstone_bound', start: {} },
    ],
  },
]);

test('every live cell is found under its place, with its own time or that of its row', () => {
  const cells = readDump(dump, new Set(['history']));
  const place = '[["account-1"],[7]]';
  expect([...cells.keys()]).toEqual([
    '[["account-1"],[]] owner []',
    `${place} (row)`,
    `${place} label []`,
    `${place} tags ["a"]`,
    `${place} tags ["b"]`,
    `${place} history [0]`,
    `${place} history [1]`,
  ]);
  expect(cells.get(`${place} label []`)?.timestampMicros).toBe(100n);
  expect(cells.get(`${place} tags ["b"]`)).toEqual({ value: '""', timestampMicros: 200n, expiresAtSeconds: 5000 });
});

test('a cell of an expiring row expires with it, unless it says otherwise', () => {
  const expiring = JSON.stringify([
    {
      partition: { key: ['k'] },
      rows: [
        {
          type: 'row',
          clustering: [],
          liveness_info: { tstamp: '100', ttl: 60, expires_at: '5000', expired: false },
          cells: [
            { name: 'a', value: 1 },
            { name: 'b', value: 2, tstamp: '200' },
          ],
        },
        { type: 'row', clustering: [1], liveness_info: { tstamp: '100', ttl: 1, expires_at: '2', expired: true } },
      ],
    },
  ]);
  const cells = readDump(expiring, new Set());
  expect(cells.get('[["k"],[]] a []')?.expiresAtSeconds).toBe(5000);
  expect(cells.get('[["k"],[]] b []')?.expiresAtSeconds).toBeUndefined();
  expect(cells.has('[["k"],[1]] (row)')).toBe(false);
});

const cell = (value: string, timestampMicros: bigint, expiresAtSeconds?: number): DumpedCell => ({
  value,
  timestampMicros,
  expiresAtSeconds,
});
const compare = (a: DumpedCell | undefined, b: DumpedCell | undefined, isList = false): number => {
  const side = (one: DumpedCell | undefined) => new Map(one ? [['k', one]] : []);
  return compareDumps(side(a), side(b), 1000n, () => isList).differenceCount;
};

test('value, write time and expiry must agree, the expiry within two seconds', () => {
  expect(compare(cell('v', 1n), cell('v', 1n))).toBe(0);
  expect(compare(cell('v', 1n), cell('w', 1n))).toBe(1);
  expect(compare(cell('v', 1n), cell('v', 2n))).toBe(1);
  expect(compare(cell('v', 1n), undefined)).toBe(1);
  expect(compare(cell('v', 1n, 50), cell('v', 1n, 52))).toBe(0);
  expect(compare(cell('v', 1n, 50), cell('v', 1n, 53))).toBe(1);
  expect(compare(cell('v', 1n, 50), cell('v', 1n))).toBe(1);
});

test('elements of lists are compared by value alone', () => {
  expect(compare(cell('v', 1n), cell('v', 2n), true)).toBe(0);
  expect(compare(cell('v', 1n), cell('w', 1n), true)).toBe(1);
});

test('what was written after the comparison began is not judged, and is counted', () => {
  const late = new Map([['k', cell('new', 1001n)]]);
  const early = new Map([['k', cell('old', 1n)]]);
  expect(compareDumps(early, late, 1000n, () => false)).toMatchObject({ compared: 0, tooNew: 1, differenceCount: 0 });
});
