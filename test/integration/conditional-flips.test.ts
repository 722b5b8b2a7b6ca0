/** Conditional writes that race through two proxies while the cluster that decides them changes, copies being late. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auth, Client, errors, policies, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Phase } from '#core/config/schema.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { CqlProxy } from '../../proxy-container/src/proxy.ts';
import { forcePhase } from '../support/force-phase.ts';
import { FrameRelay } from '../support/frame-relay.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { startProxyHere } from './support/proxy-here.ts';
import { SteadyLoad, type Work } from './support/steady-load.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'conditional_flips';
const ROWS = [1, 2, 3];
const environment = readTestEnvironment();
const { username, password } = environment;
const folder = mkdtempSync(join(tmpdir(), 'ringshift-flips-'));
const ledger = createLedger(createMemoryLedgerStore());
const queue = new MemoryQueue();
const relays = { origin: new FrameRelay(environment.origin), target: new FrameRelay(environment.target) };
const proxies: CqlProxy[] = [];
const apps: Client[] = [];
let origin: Client;
let target: Client;

async function startProxy(
  instance: string,
  ports: { readonly origin: number; readonly target: number },
): Promise<void> {
  const host = '127.0.0.1';
  const proxy = await startProxyHere({
    instance,
    origin: { host, port: ports.origin },
    target: { host, port: ports.target },
    requestTimeoutMs: 20_000,
    shadowTimeoutMs: 15_000,
    journalDir: join(folder, instance),
    ledger,
    queue,
  });
  proxies.push(proxy);
}

async function connect(proxy: CqlProxy): Promise<Client> {
  const { address, port } = proxy.addresses!.listen;
  const client = new Client({
    contactPoints: [address],
    // The relays know frames of v4.
    protocolOptions: { port, maxVersion: 4 },
    localDataCenter: 'dc1',
    keyspace: KEYSPACE,
    authProvider: new auth.PlainTextAuthProvider(username, password),
    socketOptions: { readTimeout: 60_000, connectTimeout: 30_000 },
    queryOptions: {
      consistency: types.consistencies.localOne,
      serialConsistency: types.consistencies.serial,
      prepare: true,
    },
    policies: { retry: new policies.retry.FallthroughRetryPolicy() },
  });
  await client.connect();
  apps.push(client);
  return client;
}

/** Forced, since it steps over phases. */
async function flip(phase: Phase): Promise<void> {
  await forcePhase(ledger, phase);
}

/** What was decided: for each row who was told of each number. */
const decided = new Map<number, Map<number, string>>(ROWS.map((id) => [id, new Map<number, string>()]));
/** Numbers whose round had no clear outcome. */
const unclear = new Map<number, Set<number>>(ROWS.map((id) => [id, new Set<number>()]));

/** The cluster's own word for rounds that met others for too long. */
function isContention(error: unknown): boolean {
  const { writeTimeout, readTimeout } = types.responseErrorCodes;
  return error instanceof errors.ResponseError && (error.code === writeTimeout || error.code === readTimeout);
}

/** Counts a row up by one, on the condition that it has the number that was read. */
function countUp(client: Client, name: string, id: number): Work {
  const told = decided.get(id)!;
  return async () => {
    const least = Math.max(0, ...told.keys());
    const read = { consistency: types.consistencies.serial };
    let found: number;
    try {
      found = (await client.execute('SELECT n FROM counted WHERE id = ?', [id], read)).first()['n'] as number;
    } catch (error) {
      if (isContention(error)) return;
      throw error;
    }
    if (found < least) throw new Error(`row ${id} has ${found}, and ${least} was decided before`);
    try {
      const update = 'UPDATE counted SET n = ?, name = ? WHERE id = ? IF n = ?';
      const result = await client.execute(update, [found + 1, name, id, found]);
      if (!result.wasApplied()) return;
    } catch (error) {
      unclear.get(id)!.add(found + 1);
      if (isContention(error)) return;
      throw error;
    }
    const other = told.get(found + 1);
    if (other !== undefined) throw new Error(`row ${id}: ${found + 1} was decided for ${other} and for ${name}`);
    told.set(found + 1, name);
  };
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.counted (id int PRIMARY KEY, n int, name text)`);
  }
  const ports = { origin: await relays.origin.listen(), target: await relays.target.listen() };
  await startProxy('one', ports);
  await startProxy('two', ports);
});

afterAll(async () => {
  for (const app of apps) await app.shutdown();
  for (const proxy of proxies) await proxy.stop();
  await Promise.all([relays.origin.close(), relays.target.close()]);
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
  rmSync(folder, { recursive: true, force: true });
});

test('each number is decided once and none is lost, whichever cluster decides and however late the copies are', async () => {
  const [first, second] = await Promise.all(proxies.map(connect));
  for (const id of ROWS) {
    await first!.execute("INSERT INTO counted (id, n, name) VALUES (?, 0, 'begun') IF NOT EXISTS", [id]);
  }
  const late = (): { delayMs: number } => ({ delayMs: 100 + Math.random() * 200 });
  const slow = { 'dual-async': relays.target, 'dual-sync': relays.target, 'target-primary': relays.origin } as const;
  const load = new SteadyLoad(ROWS.flatMap((id) => [countUp(first!, 'one', id), countUp(second!, 'two', id)]));
  try {
    for (const phase of ['dual-async', 'target-primary', 'dual-sync', 'target-primary', 'dual-async'] as const) {
      if (proxies[0]!.status().phase !== phase) await flip(phase);
      // Copies are late, so that some are always under way when the next change is proposed.
      slow[phase].fateOf = late;
      for (let round = 0; round < 3; round++) await load.wholeRound();
      slow[phase].fateOf = () => ({});
    }
  } finally {
    await load.end();
  }
  expect(load.faults).toEqual([]);
  await flip('target-primary');
  for (const id of ROWS) {
    const numbers = [...decided.get(id)!.keys()].sort((a, b) => a - b);
    const last = await Promise.all(
      [origin, target].map(async (client) => {
        const row = (
          await client.execute(`SELECT n, writetime(n) AS at FROM ${KEYSPACE}.counted WHERE id = ${id}`)
        ).first();
        return { n: row['n'] as number, at: String(row['at']) };
      }),
    );
    expect(last[1]).toEqual(last[0]);
    const all = Array.from({ length: last[0]!.n }, (_, index) => index + 1);
    expect(numbers.length).toBeGreaterThan(10);
    expect(all.filter((n) => !numbers.includes(n) && !unclear.get(id)!.has(n))).toEqual([]);
    expect(numbers.at(-1)).toBeLessThanOrEqual(last[0]!.n);
  }
});
