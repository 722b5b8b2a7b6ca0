import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const SCRIPT = fileURLToPath(new URL('../../bench/wide-partition.ts', import.meta.url));

test('a partition that is larger than the memory streams through the merge and the grouping', {
  timeout: 120_000,
}, async () => {
  // 300 MiB in each of two SSTables; the heap alone could not hold its rows, and the whole process not its bytes.
  const { stdout } = await promisify(execFile)(process.execPath, ['--max-old-space-size=96', SCRIPT, '300', '2']);
  const result = JSON.parse(stdout) as Record<string, number>;
  expect(result['rows']).toBe(result['expectedRows']);
  expect(result['writes']).toBe(result['rows']);
  expect(result['maxRssMiB']).toBeLessThan(280);
});
