import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findJava17, missingPrerequisites, parseJavaMajor } from '../../../infra/local/prerequisites.mjs';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-prerequisites-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function fakeJava(home: string, version: string): string {
  mkdirSync(join(home, 'bin'), { recursive: true });
  const java = join(home, 'bin', 'java');
  writeFileSync(java, `#!/bin/sh\necho 'openjdk version "${version}"' >&2\n`);
  chmodSync(java, 0o755);
  return java;
}

test.each([
  ['openjdk version "17.0.15" 2025-04-15', 17],
  ['java version "1.8.0_402"', 8],
  ['openjdk version "25" 2025-09-16', 25],
  ['command not found', undefined],
])('the major version of %s is %s', (text, major) => {
  expect(parseJavaMajor(text)).toBe(major);
});

test('Java 17 of JAVA_HOME is used', () => {
  const java = fakeJava(join(folder, 'seventeen'), '17.0.1');
  expect(findJava17({ JAVA_HOME: join(folder, 'seventeen'), PATH: '' }, [])).toBe(java);
});

test('another Java in JAVA_HOME and on the path is passed over for a 17 elsewhere', () => {
  fakeJava(join(folder, 'old'), '1.8.0_402');
  fakeJava(join(folder, 'new'), '25');
  const java = fakeJava(join(folder, 'jvm', 'jdk-17'), '17.0.2');
  const env = { JAVA_HOME: join(folder, 'old'), PATH: join(folder, 'new', 'bin') };
  expect(findJava17(env, [join(folder, 'jvm')])).toBe(java);
  expect(findJava17(env, [])).toBeUndefined();
});

test('everything that is missing is named at once, each with its remedy', () => {
  const missing = missingPrerequisites({ PATH: folder }, '18.20.0');
  const names = missing.map(({ what }) => what);
  expect(names).toContain('Node 20 or later (this is 18.20.0)');
  expect(names).toContain('Maven');
  expect(names).toContain('Python 3');
  for (const { remedy } of missing) expect(remedy).toMatch(/install/);
});

test('the bootstrap exits 2 with that list before it installs anything', () => {
  const result = spawnSync(process.execPath, ['infra/local/bootstrap.mjs', 'test'], {
    env: { PATH: folder },
    encoding: 'utf8',
  });
  expect(result.status).toBe(2);
  expect(result.stderr).toMatch(/Maven is missing: install it/);
  expect(result.stderr).toMatch(/Python 3 is missing: install/);
  expect(result.stdout).toBe('');
});
