import { expect, test } from 'vitest';
import type { Snapshot } from '#core/jobs/snapshot-layout.ts';
import { chooseFresh } from '#core/jobs/stale-tables.ts';
import type { TableRecord } from '#core/ledger/records.ts';

const iso = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();

function snapshotOf(...takenAt: (string | null)[]): Snapshot {
  const manifests = takenAt.map((at, i) => ({
    ...{ version: 1 as const, node: `n${i}`, hostId: `h${i}`, datacenter: 'dc', rack: 'r', tokens: [], ring: [] },
    ...{ tag: 't', takenAt: at, tables: [], components: [] },
  }));
  return { tables: [], nodes: manifests.map(({ node }) => node), manifests };
}

const record = (table: string, facts: Partial<TableRecord>): TableRecord => ({
  ...{ version: 1, keyspace: 'ks', table, state: 'suspect', since: iso(0), runId: null, reasons: [] },
  ...facts,
});

test('the node whose snapshot is the oldest decides', () => {
  const records = [record('a', { truncatedAt: iso(10) }), record('b', { definedAt: iso(4) })];
  const { fresh, stale } = chooseFresh('ks', ['a', 'b', 'c'], records, snapshotOf(iso(20), iso(5)), true);
  expect([...fresh]).toEqual(['b', 'c']);
  expect(stale).toEqual([{ table: 'a', reason: `truncated at ${iso(10)}; the snapshot is of ${iso(5)}` }]);
});

test('a snapshot of unknown age is younger than nothing, and tables of which nothing is known need none', () => {
  const records = [record('a', { definedAt: iso(4) }), record('b', {})];
  for (const snapshot of [snapshotOf(iso(50), null), snapshotOf(), { ...snapshotOf(iso(50)), nodes: ['n0', 'n1'] }]) {
    expect([...chooseFresh('ks', ['a', 'b', 'c'], records, snapshot, true).fresh]).toEqual(['b', 'c']);
  }
});

test('a snapshot of the same moment is not younger', () => {
  const records = [record('a', { remigrate: { at: iso(5), why: 'asked', by: 'me' } })];
  expect(() => chooseFresh('ks', ['a'], records, snapshotOf(iso(5)), true)).toThrow(/ks\.a: to be loaded again/);
  expect(chooseFresh('ks', ['a'], records, snapshotOf(iso(6)), false).stale).toEqual([]);
});
