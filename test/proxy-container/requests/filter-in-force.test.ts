import { chmodSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { stampOf } from '#adapters/watched-files.ts';
import type { Phase } from '#core/config/schema.ts';
import { FilterInForce } from '../../../proxy-container/src/requests/filter-in-force.ts';
import { eventually } from '../../support/eventually.ts';

const excludes = (table: string): string => `tables: { exclude: ['ks.${table}'] }\n`;
const told: string[] = [];
const note = (level: string) => (message: string) => void told.push(`${level}: ${message}`);
const logger = { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') };

let folder: string;
let path: string;
let filter: FilterInForce;
let phase: Phase = 'dual-async';

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-filter-'));
  path = join(folder, 'filter-rules.yaml');
  write(excludes('first'));
  filter = new FilterInForce(path);
  phase = 'dual-async';
  await filter.reload(phase);
  filter.watch(logger, () => phase, 5);
});

afterEach(() => {
  filter.close();
  told.length = 0;
  rmSync(folder, { recursive: true, force: true });
});

function write(text: string): void {
  // As mounted config maps are: never half a file.
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

const isExcluded = (table: string): boolean => filter.filter.decide('ks', table).kind === 'excluded';

test('rules whose file changes are in force soon after', async () => {
  expect([isExcluded('first'), isExcluded('second')]).toEqual([true, false]);
  write(excludes('second'));
  await eventually(() => expect([isExcluded('first'), isExcluded('second')]).toEqual([false, true]));
  expect([filter.fault, told]).toEqual([undefined, ['info: the filter rules were read again']]);
});

test('a file that can not be used leaves the rules in force, is told of once, and may be mended', async () => {
  write('tables: [');
  await eventually(() => expect(filter.fault).toMatch(/filter-rules\.yaml/));
  expect(isExcluded('first')).toBe(true);
  rmSync(path);
  await eventually(() => expect(filter.fault).toMatch(/does not exist|can't be read/));
  expect(isExcluded('first')).toBe(true);
  expect(told).toEqual(['error: the filter rules stay as they were', 'error: the filter rules stay as they were']);
  write(excludes('second'));
  await eventually(() => expect([filter.fault, isExcluded('second')]).toEqual([undefined, true]));
});

test('in target-only rules that exclude something are not taken', async () => {
  phase = 'target-only';
  write(excludes('second'));
  await eventually(() => expect(filter.fault).toMatch(/in target-only there is no cluster/));
  expect(isExcluded('second')).toBe(false);
});

test('readings that overlap end in the order in which they were asked for', async () => {
  filter.close();
  const readings: Promise<unknown>[] = [];
  const ended: number[] = [];
  for (let count = 0; count < 20; count++) {
    write(count % 2 === 0 ? excludes(`t${count}`) : 'tables: [');
    readings.push(
      filter.reload(phase).then(
        () => ended.push(count),
        () => ended.push(count),
      ),
    );
  }
  await Promise.all(readings);
  expect(ended).toEqual(Array.from({ length: 20 }, (_, count) => count));
});

test('a file that may be read by others now counts as changed', () => {
  const before = stampOf([path]);
  const { mode } = statSync(path);
  chmodSync(path, mode ^ 0o040);
  expect(stampOf([path])).not.toBe(before);
});
