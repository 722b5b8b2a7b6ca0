import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, '..', '..', '..', 'proxy-container', 'src', 'main.ts');

test.each([['--bogus'], ['migration.yaml'], ['--config']])(
  'wrong arguments (%s) are told with the right one, exit code 2',
  (argument) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, argument], { encoding: 'utf8' });
    expect(stderr).toMatch(/^ringshift proxy: .*--config FILE\n$/);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  },
);
