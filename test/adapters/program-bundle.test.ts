import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cachedBundle } from '#adapters/program-bundle.ts';

let folder: string;
let entry: string;
let cache: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-bundle-'));
  entry = join(folder, 'entry.ts');
  cache = join(folder, 'cache');
  writeFileSync(join(folder, 'late.ts'), 'export const late: string = "late";');
  writeFileSync(
    entry,
    'const { late } = await import("./late.ts"); console.log(late satisfies string, process.argv[2]);',
  );
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const bundle = () =>
  cachedBundle({ main: entry }, cache, [entry, join(folder, 'late.ts'), join(folder, 'no-such-file')]);

test('a program runs as plain JavaScript, with what it imports late', async () => {
  const main = await bundle();
  rmSync(entry);
  const { stdout, stderr } = spawnSync(process.execPath, ['--no-strip-types', main, 'argument'], { encoding: 'utf8' });
  expect(stderr).toBe('');
  expect(stdout).toBe('late argument\n');
});

test('it is made once for the same sources, also by two at the same time, and again for others', async () => {
  const [first, second] = await Promise.all([bundle(), bundle()]);
  expect(second).toBe(first);
  expect(await bundle()).toBe(first);
  expect(readdirSync(cache)).toHaveLength(1);
  utimesSync(join(folder, 'late.ts'), 1, 1);
  expect(await bundle()).not.toBe(first);
  // It may still be running.
  expect(existsSync(first)).toBe(true);
});

test('old bundles do not stay for ever', async () => {
  for (let time = 1; time < 20; time++) {
    utimesSync(entry, time, time);
    await bundle();
  }
  expect(readdirSync(cache)).toHaveLength(16);
  expect(existsSync(await bundle())).toBe(true);
}, 60_000);

test('a bundle that is still used stays, however long ago it was made', async () => {
  utimesSync(entry, 1000, 1000);
  const mark = join(dirname(await bundle()), 'made-once');
  writeFileSync(mark, '');
  for (let time = 1; time < 20; time++) {
    utimesSync(entry, time, time);
    await bundle();
    utimesSync(entry, 1000, 1000);
    await bundle();
  }
  expect(existsSync(mark)).toBe(true);
}, 60_000);

test('a fault in the sources is told, and leaves nothing behind', async () => {
  writeFileSync(entry, 'import "./no-such-file.ts";');
  await expect(bundle()).rejects.toThrow(/no-such-file/);
  expect(readdirSync(cache)).toEqual([]);
});
