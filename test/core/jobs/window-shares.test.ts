import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { WindowShares } from '#core/jobs/window-shares.ts';

const SCRIPT = fileURLToPath(new URL('../../bench/merge-many.ts', import.meta.url));
const MIB = 1024 * 1024;

test('windows shrink with the cursors that are open, not with those that are still closed or have ended', () => {
  const windows = new WindowShares(8 * MIB);
  const [first, second] = Array.from({ length: 300 }, () => windows.join());
  expect(first!.windowBytes()).toBe(4 * MIB);
  // The first one has everything until its next window.
  expect(second!.windowBytes()).toBe(64 * 1024);
  expect(first!.windowBytes()).toBe(2 * MIB);
  expect(second!.windowBytes()).toBe(2 * MIB);
  second!.leave();
  second!.leave();
  expect(first!.windowBytes()).toBe(4 * MIB);
});

test('what is given out at a time never exceeds the budget but for windows of the least size', () => {
  const windows = new WindowShares(128 * MIB);
  const all = Array.from({ length: 300 }, () => windows.join());
  const given = all.map(({ windowBytes }) => windowBytes());
  const larger = given.filter((bytes) => bytes > 64 * 1024).reduce((sum, bytes) => sum + bytes, 0);
  expect(larger).toBeLessThanOrEqual(64 * MIB);
  expect(all.map(({ windowBytes }) => windowBytes())).toHaveLength(300);
});

test('a window is never so small that nothing fits into it', () => {
  const windows = new WindowShares(MIB);
  const all = Array.from({ length: 300 }, () => windows.join());
  expect(Math.min(...all.map(({ windowBytes }) => windowBytes()))).toBe(64 * 1024);
});

test.each([
  [300, 4],
  // Fewer, whose windows are as large as windows get.
  [40, 16],
])(
  '%i SSTables of %i MiB that are open at once are loaded in less than 512 MiB',
  { timeout: 180_000 },
  async (count, megabytes) => {
    // More than the process may have, with the budget that a load has by default, down to the requests.
    const args = ['--max-old-space-size=192', SCRIPT, String(count), String(megabytes)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const result = JSON.parse(stdout) as Record<string, number>;
    expect(result['rows']).toBe(result['expectedRows']);
    expect(result['maxRssMiB']).toBeLessThan(512);
  },
);
