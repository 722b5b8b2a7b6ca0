import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const SCRIPT = fileURLToPath(new URL('../../bench/wide-partition.ts', import.meta.url));

test('a partition that is larger than the memory streams through the merge into requests', {
  timeout: 180_000,
}, async () => {
  // 2 GiB in two SSTables, with the budget that a load has by default.
  const { stdout } = await promisify(execFile)(process.execPath, ['--max-old-space-size=192', SCRIPT, '1024', '2']);
  const result = JSON.parse(stdout) as Record<string, number>;
  expect(result['rows']).toBe(result['expectedRows']);
  expect(result['statements']).toBe(result['rows']);
  expect(result['maxRssMiB']).toBeLessThan(512);
});
