import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { MockCluster } from '../support/mock-cluster.ts';
import { projectRoot } from './run-ringshift.ts';

/** The installed command under an older Node starts the one that the project brings. */
const OLDER = 'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"20.20.2"})';

let folder: string;
let clusters: MockCluster[];
let child: ChildProcess | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-launcher-'));
  clusters = [new MockCluster(), new MockCluster()];
});
afterEach(async () => {
  child?.kill('SIGKILL');
  await Promise.all(clusters.map((cluster) => cluster.close()));
  rmSync(folder, { recursive: true, force: true });
});

test('SIGHUP to the installed command under an older Node reads files again, and SIGTERM drains', async () => {
  const [origin, target] = await Promise.all(clusters.map((cluster) => cluster.listen()));
  const config = join(folder, 'migration.yaml');
  writeFileSync(
    config,
    `origin: { contactPoints: [127.0.0.1], port: ${origin} }
target: { contactPoints: [127.0.0.1], port: ${target} }
ledger: { kind: file, path: ${join(folder, 'ledger')} }
proxy: { listen: { host: 127.0.0.1, port: 0 }, admin: { port: 0 } }
failedWrites: { journalDir: ${join(folder, 'journal')} }
`,
  );
  const launcher = join(projectRoot, 'cli', 'ringshift.mjs');
  child = spawn(process.execPath, ['--import', OLDER, launcher, 'proxy', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const ended = new Promise<unknown>((resolve) => child?.once('exit', (code, signal) => resolve(signal ?? code)));
  // The proxy is bundled first.
  await vi.waitFor(() => expect(output).toContain('CQL server listening'), { timeout: 60_000 });
  child.kill('SIGHUP');
  await eventually(() => expect(output).toContain('files are read again'));
  expect(child.exitCode).toBeNull();
  child.kill('SIGTERM');
  expect(await ended).toBe(0);
});
