import { expect, test } from 'vitest';
import { uuidOf } from '../../../../infra/local/demo/identity.ts';
import { Narrator } from '../../../../infra/local/demo/narrator.ts';
import { formatCounts } from '../../../../infra/local/demo/run-summary.ts';
import { firstRound, secondRound, thirdRound } from '../../../../infra/local/demo/seed.ts';
import { percentile, Statistics } from '../../../../infra/local/demo/statistics.ts';
import { formatTable } from '../../../../infra/local/demo/summary.ts';
import { tables } from '../../../../infra/local/demo/tables.ts';

test('a step is numbered, timed and remembered', async () => {
  let now = 0;
  const lines: string[] = [];
  const narrator = new Narrator(
    2,
    (text) => lines.push(text),
    () => now,
  );
  await narrator.step('Start', async () => {
    now += 1500;
  });
  expect(lines.join('')).toContain('1/2] Start');
  expect(lines.join('')).toContain('done in 1.5 s');
  expect(narrator.steps).toEqual([{ title: 'Start', seconds: 1.5 }]);
});

test('a step that fails is told as failed, not counted as done, and its error goes on', async () => {
  const lines: string[] = [];
  const narrator = new Narrator(
    1,
    (text) => lines.push(text),
    () => 0,
  );
  await expect(narrator.step('Start', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(lines.join('')).toContain('FAILED');
  expect(narrator.steps).toEqual([]);
});

test('the seed has more than 100,000 rows, in every table, and batches stay within one partition', () => {
  let statements = 0;
  const written = new Set<string>();
  for (const work of firstRound()) {
    statements += work.length;
    expect(new Set(work.map(({ params }) => String(params[0]))).size).toBe(1);
    for (const { query } of work) written.add(/INTO (\S+)/.exec(query)?.[1] ?? query);
  }
  expect(statements).toBeGreaterThan(100_000);
  expect([...written].sort()).toEqual(tables.map(({ keyspace, table }) => `${keyspace}.${table}`).sort());
});

test('the later rounds delete cells, rows, ranges, partitions and elements, and write values that expire', () => {
  const queries = new Set([...secondRound(), ...thirdRound()].flat().map(({ query }) => query.replace(/\s+/g, ' ')));
  const has = (pattern: RegExp): boolean => [...queries].some((query) => pattern.test(query));
  expect(has(/^DELETE title FROM/)).toBe(true);
  expect(has(/^DELETE FROM \S+media_assets WHERE id = \?$/)).toBe(true);
  expect(has(/chunk_number >= \? AND chunk_number < \?/)).toBe(true);
  expect(has(/^DELETE FROM \S+media_chunks WHERE asset_id = \?$/)).toBe(true);
  expect(has(/^DELETE scores\['price'\]/)).toBe(true);
  expect(has(/USING TTL/)).toBe(true);
});

test('ids are UUIDs, the same for the same kind and number', () => {
  expect(uuidOf('asset', 1)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(uuidOf('asset', 1)).toBe(uuidOf('asset', 1));
  expect(uuidOf('asset', 1)).not.toBe(uuidOf('file', 1));
});

test('a percentile is the smallest value that the share does not exceed', () => {
  expect(percentile([1, 2, 3, 4], 0.5)).toBe(2);
  expect(percentile([1, 2, 3, 4], 0.99)).toBe(4);
  expect(percentile([], 0.5)).toBe(0);
});

test('latencies are kept by phase, and all errors counted while few are kept', () => {
  const statistics = new Statistics();
  statistics.took(1);
  statistics.enterPhase('dual-async');
  statistics.took(3);
  for (let n = 0; n < 10; n++) statistics.error(`error ${n}`);
  const report = statistics.report(true);
  expect(report.latencies.map(({ phase, p50Ms }) => [phase, p50Ms])).toEqual([
    ['origin-only', 1],
    ['dual-async', 3],
  ]);
  expect(report.errors).toBe(10);
  expect(report.errorTexts).toHaveLength(5);
});

test('counts are shown in words, zeros left out', () => {
  expect(formatCounts({ rowsWritten: 1200, skipped: 0, cells: 5 })).toBe('rows written 1,200, cells 5');
});

test('a table is as wide as its widest line', () => {
  const lines = formatTable([
    ['a', '1'],
    ['longer', '1,000'],
  ]);
  expect(lines[1]).toBe('a            1');
  expect(new Set(lines.map((line) => line.length)).size).toBe(1);
});
