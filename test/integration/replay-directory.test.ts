/** A queue in a directory, for a single machine without AWS: the proxy puts into it, the command applies what is in it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { auth, Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { jsonOf, runRingshift } from '../cli/run-ringshift.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KS = 'replay_directory';
const environment = readTestEnvironment();
const { proxyAddress: host, username, password } = environment;
const root = join(import.meta.dirname, '..', '..');
const relayPlace = { host, port: 19644 };

interface Status {
  readonly waiting: number;
  readonly open: readonly string[];
}

const folder = mkdtempSync(join(tmpdir(), 'ringshift-replay-'));
let origin: Client;
let target: Client;
let relay: TcpRelay;
let proxy: ProxyProcess;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KS);
    await client.execute(`CREATE TABLE ${KS}.assets (id int PRIMARY KEY, title text)`);
  }
  relay = new TcpRelay(relayPlace.host, relayPlace.port, environment.target);
  await relay.restore();
  proxy = new ProxyProcess({
    listen: { host, port: 19642 },
    admin: { host, port: 19643 },
    origin: environment.origin,
    target: relayPlace,
    login: { username, password },
    clusters: { connectTimeoutMs: 2000, addressMap: { [environment.target.host]: relayPlace.host } },
    proxy: { initialPhase: 'dual-async' },
    failedWrites: { kind: 'directory', path: join(folder, 'queue'), probeSecs: 1 },
  });
  await proxy.start();
});

afterAll(async () => {
  await proxy?.stop();
  proxy?.cleanUp();
  await relay?.cut();
  rmSync(folder, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

const replay = (...args: string[]) => runRingshift(['replay', ...args, '--config', proxy.configFile, '--json']);
const missed = async () =>
  (await target.execute(`SELECT id FROM ${KS}.assets WHERE title = 'missed' ALLOW FILTERING`)).rowLength;

test('what the target misses lies in a directory, and the command that follows it applies it once the target is back', async () => {
  await relay.cut();
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: 19642 },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    keyspace: KS,
  });
  for (let id = 0; id < 20; id++) {
    await client.execute('INSERT INTO assets (id, title) VALUES (?, ?)', [id, 'missed'], { prepare: true });
  }
  await client.shutdown();
  await eventually(async () => {
    const { failedWrites } = await proxy.get<{ failedWrites: { queued: number } }>('/status');
    expect(failedWrites.queued).toBe(20);
  });
  await proxy.stop();
  expect(jsonOf<Status>(await replay('status')).waiting).toBeGreaterThan(0);
  const away = await replay('run', '--local');
  expect(away.code, away.stderr).toBe(1);
  expect(jsonOf<{ applied: number }>(away).applied).toBe(0);

  const args = [join(root, 'cli', 'main.ts'), 'replay', 'run', '--local', '--follow', '--json'];
  const follower = spawn(process.execPath, [...args, '--config', proxy.configFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let output = '';
    follower.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    await relay.restore();
    // The test's own time-out ends it: a process has to start, on a machine with other work on it.
    while ((await missed()) < 20) await delay(250);
    follower.kill('SIGTERM');
    expect(await once(follower, 'close')).toEqual([0, null]);
    expect(JSON.parse(output), output).toMatchObject({ applied: 20, dead: 0, held: null });
  } finally {
    follower.kill('SIGKILL');
  }
  expect(jsonOf<Status>(await replay('status'))).toMatchObject({ waiting: 0, inFlight: 0, deadLetters: 0, open: [] });
});
