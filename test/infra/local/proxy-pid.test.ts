import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { rememberProxy, stopProxy } from '../../../infra/local/proxy-pid.ts';

let folder: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-local-'));
});

afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** A process of its own group that waits, with these arguments on its command line. */
async function start(...args: string[]): Promise<ChildProcess> {
  const program = "process.stdout.write('up'); setInterval(() => {}, 1000)";
  child = spawn(process.execPath, ['-e', program, '--', ...args], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(child.stdout!, 'data');
  return child;
}

test.each([
  ['the command', ['cli/main.ts', 'proxy', '--config']],
  ['the program that the command has become', ['main.mjs', '--config']],
])('a remembered proxy is stopped: %s', async (_, args) => {
  const proxy = await start(...args, join(folder, 'migration.yaml'));
  const ended = once(proxy, 'exit');
  rememberProxy(folder, proxy.pid!);
  await stopProxy(folder);
  expect(await ended).toEqual([null, 'SIGTERM']);
});

test('a process that got the pid of the proxy meanwhile is left alone', async () => {
  const other = await start('--config', join(tmpdir(), 'another', 'migration.yaml'));
  rememberProxy(folder, other.pid!);
  await stopProxy(folder);
  expect(other.exitCode).toBeNull();
  expect(other.signalCode).toBeNull();
});
