/**
 * Cut-over and rollback by the commands, with two and three real proxies under load, one of them killed in the middle of a
 * change (CORRECTNESS: test 9); and each gate that closes on purpose.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, policies, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { openDirectoryQueue } from '#adapters/queue-directory.ts';
import type { Phase } from '#core/config/schema.ts';
import { GateClosedError } from '#core/errors.ts';
import { type ChangePhaseInput, changePhase } from '#core/jobs/change-phase.ts';
import type { AskedGate } from '#core/ledger/gates.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';
import { openChange } from '../../cli/phase-change.ts';
import { runRingshift } from '../cli/run-ringshift.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readYourWrites, SteadyLoad, type Work } from './support/steady-load.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'cutover_test';
const PORT = 19_660;
const environment = readTestEnvironment();
const { username, password, proxyAddress } = environment;
const folder = mkdtempSync(join(tmpdir(), 'ringshift-cutover-'));
const ledgerFolder = join(folder, 'ledger');
const queueFolder = join(folder, 'queue');
const ledger = createLedger(createFileLedgerStore(ledgerFolder));
const proxies = [0, 1, 2].map(
  (index) =>
    new ProxyProcess({
      listen: { host: proxyAddress, port: PORT + 2 * index },
      admin: { host: proxyAddress, port: PORT + 2 * index + 1 },
      origin: environment.origin,
      target: environment.target,
      login: { username, password },
      clusters: { requestTimeoutMs: 60_000 },
      ledger: ledgerFolder,
      gates: { keyspaces: [KEYSPACE], quietMinutes: 0 },
      failedWrites: { kind: 'directory', path: queueFolder },
      proxy: {
        instance: `proxy-${index + 1}`,
        // A lease is over after six seconds.
        lease: { pollMs: 200, heartbeatSecs: 2 },
        // On a busy machine no copy is given up.
        shadowTimeoutMs: 60_000,
      },
    }),
);
const [first, second, third] = proxies as [ProxyProcess, ProxyProcess, ProxyProcess];
const clients: Client[] = [];
let origin: Client;
let target: Client;

async function connect(index: number, retry?: policies.retry.RetryPolicy): Promise<Client> {
  const client = await connectToProxy({ host: proxyAddress, port: PORT + 2 * index }, KEYSPACE, {
    queryOptions: { consistency: types.consistencies.localOne, isIdempotent: true },
    policies: {
      retry: retry ?? new policies.retry.FallthroughRetryPolicy(),
      reconnection: new policies.reconnection.ConstantReconnectionPolicy(200),
    },
  });
  clients.push(client);
  return client;
}

interface Outcome {
  readonly code: number;
  /** What it printed, and in a refusal the reasons. */
  readonly text: string;
  readonly json: {
    readonly phase?: PhaseRecord;
    readonly gates?: readonly AskedGate[];
    readonly error?: { readonly context: { readonly unmet?: readonly { readonly code: string }[] } };
  };
}

async function ringshift(...args: string[]): Promise<Outcome> {
  const result = await runRingshift([...args, '--config', first.configFile, '--json']);
  return { code: result.code, text: result.stderr, json: JSON.parse(result.stdout) as Outcome['json'] };
}

/** The same without a process of its own; resolves to what is in force, or to the codes of the refusal. */
async function change(to: Phase, more: Partial<ChangePhaseInput> = {}): Promise<object> {
  const { ports } = await openChange(first.configFile);
  const word = { by: 'test', why: '', force: [], fence: [], withoutProxies: false, drainTimeoutMs: 15_000 };
  try {
    const { active } = await changePhase({ phase: to, ...word, ...more }, { ...ports, onWait: () => undefined });
    return { phase: active.phase, forced: active.forced ?? [] };
  } catch (error) {
    if (!(error instanceof GateClosedError)) throw error;
    return { unmet: error.unmet.map(({ code }) => code), reasons: error.reasons };
  }
}

const unmetOf = ({ json }: Outcome): readonly string[] =>
  (json.gates?.flatMap(({ unmet }) => unmet) ?? json.error?.context.unmet ?? []).map(({ code }) => code);

/** As a validation that found both clusters equal leaves the tables. */
async function asValidated(...tables: string[]): Promise<void> {
  const at = new Date().toISOString();
  for (const table of tables) {
    const record = { version: 1, keyspace: KEYSPACE, table, state: 'validated', since: at, runId: null, reasons: [] };
    const facts = { loadedAt: at, validatedAt: at };
    await ledger.store.put(`tables/${KEYSPACE}.${table}.json`, JSON.stringify({ ...record, ...facts }));
  }
}

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, version int)`);
  }
  await Promise.all([first.start(), second.start()]);
});

afterAll(async () => {
  await Promise.all(clients.map((client) => client.shutdown()));
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  for (const proxy of proxies) proxy.cleanUp();
  rmSync(folder, { recursive: true, force: true });
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

test('gates that are closed are told with their remedies, and only exactly what is closed can be forced', async () => {
  await target.execute(`DROP TABLE ${KEYSPACE}.items`);
  const differing = await ringshift('phase', 'set', 'dual-async', '--dry-run');
  expect(differing).toMatchObject({ code: 1, json: { isOpen: false } });
  expect(unmetOf(differing)).toEqual([`schemas-differ:${KEYSPACE}`]);
  await target.execute(`CREATE TABLE ${KEYSPACE}.items (id int PRIMARY KEY, version int)`);
  expect(await change('dual-async')).toEqual({ phase: 'dual-async', forced: [] });

  expect(await ringshift('cutover')).toMatchObject({ code: 1, text: expect.stringMatching(/begins in dual-sync/) });
  expect(await ringshift('rollback')).toMatchObject({ code: 1, text: expect.stringMatching(/target-primary/) });
  expect(await change('dual-sync')).toMatchObject({ unmet: [`table-not-loaded:${KEYSPACE}.items`] });
  const forced = await ringshift('phase', 'set', 'dual-sync', '--force', `table-not-loaded:${KEYSPACE}.items`);
  expect(forced.json.phase?.active).toMatchObject({
    phase: 'dual-sync',
    forced: [`table-not-loaded:${KEYSPACE}.items`],
  });

  await asValidated('items');
  const queue = await openDirectoryQueue({ path: queueFolder, maxBytes: 1 << 20 });
  await queue.send([{ id: 'one', body: '{}' }]);
  const at = new Date().toISOString();
  const mark = { version: 1, keyspace: KEYSPACE, table: 'items', range: null, reason: 'lost', by: 'test', at } as const;
  await ledger.addSuspect('one', mark);
  const gone = {
    version: 1,
    instance: 'gone',
    startedAt: at,
    leaseUntil: at,
    drainedForEpoch: 3,
    actingEpoch: 3,
  } as const;
  await ledger.putProxy({ ...gone, storage: 'ephemeral', counters: {} });
  const closed = await ringshift('cutover');
  expect(unmetOf(closed)).toEqual(['instance-stale:gone', 'queue-not-empty', `suspect:${KEYSPACE}.items`]);
  for (const remedy of [
    '--fence gone',
    'ringshift replay status',
    'ringshift validate start',
    '1 failed writes wait',
  ]) {
    expect(closed.text).toContain(remedy);
  }
  expect(closed.text).not.toContain('repeat all of it');
  expect(closed.code).toBe(1);
  const wrong = await ringshift('cutover', '--fence', 'gone', '--force', 'queue-not-empty');
  expect(wrong.code).toBe(1);
  expect(wrong.text).toContain(`--force queue-not-empty,suspect:${KEYSPACE}.items`);
  expect((await first.get<PhaseRecord>('/phase')).active.phase).toBe('dual-sync');

  await ledger.removeSuspect(KEYSPACE, 'items', 'one');
  await queue.remove(await queue.receive(1));
  queue.close();
  const shown = await runRingshift(['cutover', '--dry-run', '--config', first.configFile]);
  expect(shown.code, shown.stdout).toBe(0);
  expect(shown.stdout).toMatch(/dual-sync → target-primary\n {2}✓ .*✓ the queue of failed writes is empty\n/s);
  const told = await runRingshift(['phase', 'get', '--config', first.configFile]);
  expect(told.stdout).toMatch(/forced by .* for dual-sync at .*: table-not-loaded:cutover_test\.items/);
  expect(told.stdout).toMatch(/proxy gone: declared dead at/);
});

test('two proxies cut over and back again and again, and no client of either sees an error or a stale row', async () => {
  const [a, b] = await Promise.all([connect(0), connect(1)]);
  const load = new SteadyLoad([
    readYourWrites(a, b, 'items', 1),
    readYourWrites(b, a, 'items', 2),
    readYourWrites(a, a, 'items', 3),
    readYourWrites(b, b, 'items', 4),
  ]);
  try {
    await load.wholeRound();
    for (const verb of ['cutover', 'rollback']) {
      const outcome = await ringshift(verb);
      expect(outcome.code, outcome.text).toBe(0);
      await load.wholeRound();
    }
    for (const phase of ['target-primary', 'dual-sync', 'target-primary'] as const) {
      expect(await change(phase)).toEqual({ phase, forced: [] });
      await load.wholeRound();
    }
    // Where a mark says that the origin lacks something, nobody may go back.
    const at = new Date().toISOString();
    const mark = {
      version: 1,
      keyspace: KEYSPACE,
      table: 'items',
      range: null,
      reason: 'lost',
      by: 'test',
      at,
    } as const;
    await ledger.addSuspect('hole', { ...mark, lacking: 'origin' });
    const hole = await ringshift('rollback', '--force', `hole:origin:${KEYSPACE}.items`);
    expect(hole).toMatchObject({
      code: 1,
      text: expect.stringMatching(/hole:origin:cutover_test\.items: lost .*--reconcile/),
    });
    expect(unmetOf(hole)).toContain(`hole:origin:${KEYSPACE}.items`);
    await load.wholeRound();
    await ledger.removeSuspect(KEYSPACE, 'items', 'hole');
    expect(await change('dual-sync')).toEqual({ phase: 'dual-sync', forced: [] });
    await load.wholeRound();
  } finally {
    await load.end();
  }
  expect(load.faults).toEqual([]);
  expect(load.count).toBeGreaterThan(50);
});

/** Errors after which a driver may ask again; only of the proxy that is killed. */
const RETRYABLE = /NoHostAvailable|Socket was closed|ECONN|All host|shutting down|Connection/i;

/** The same work, of a proxy that is killed: it may fail with what a driver retries, and a failed write may be there or not. */
function tolerant(writer: Client, reader: Client, id: number, stale: string[]): Work {
  let version = 0;
  return async () => {
    version++;
    try {
      await writer.execute('INSERT INTO items (id, version) VALUES (?, ?)', [id, version], { prepare: true });
    } catch (error) {
      if (!RETRYABLE.test(String(error))) throw error;
      // A driver without a connection says so at once, and nothing else would get its turn.
      await sleep(50);
      return;
    }
    const { rows } = await reader.execute('SELECT version FROM items WHERE id = ?', [id], { prepare: true });
    if (rows[0]?.['version'] !== version) stale.push(`row ${id} has ${rows[0]?.['version']} and not ${version}`);
  };
}

/** What was under way when the third died is in the queue as places to copy, which keeps the gates closed. */
async function replayAll(wasForced: boolean): Promise<void> {
  await eventually(async () => {
    const { failedWrites } = await third.get<{ failedWrites: { journalMessages: number } }>('/status');
    expect(failedWrites.journalMessages).toBe(0);
  });
  const replayed = await runRingshift(['replay', 'run', '--local', '--config', first.configFile]);
  const told = `${replayed.stdout}${replayed.stderr}`;
  // What only the old primary had is marked then, and nobody decides which of the two is right.
  if (wasForced && told.includes('has become the primary since')) return;
  expect(replayed.code, told).toBe(0);
}

// Its waits are those of leases and drains.
test('one of three that is killed in the middle of a change stops it, and the others neither fail nor read what is old', {
  timeout: 400_000,
}, async () => {
  await third.start();
  const [a, b, c] = await Promise.all([connect(0), connect(1), connect(2)]);
  const stale: string[] = [];
  const load = new SteadyLoad([
    readYourWrites(a, b, 'items', 11),
    readYourWrites(b, a, 'items', 12),
    // What the third acknowledges is read through the others.
    tolerant(c, a, 13, stale),
    tolerant(c, b, 14, stale),
  ]);
  try {
    await load.wholeRound();
    for (const [from, to] of [
      ['dual-sync', 'target-primary'],
      ['target-primary', 'dual-sync'],
    ] as const) {
      const changed = change(to, { drainTimeoutMs: 6000 });
      const proposed = eventually(async () => {
        expect((await ledger.readPhase())?.proposal?.phase).toBe(to);
      });
      expect(await Promise.race([proposed, changed]), 'a change that is refused before it is proposed').toBeUndefined();
      await third.kill();
      const outcome = await changed;
      const { active, proposal } = (await ledger.readPhase())!;
      // It had acknowledged before it died, or the change was taken back; nothing in between.
      if (active.phase === from) {
        expect(outcome).toMatchObject({ reasons: [expect.stringMatching(/not drained after 6000 ms: .*proxy-3/)] });
      } else expect(active.phase).toBe(to);
      expect(proposal).toBeNull();
      await load.wholeRound();

      await eventually(async () => {
        const dead = (await ledger.listProxies()).find(({ instance }) => instance === 'proxy-3');
        expect(Date.parse(dead!.leaseUntil)).toBeLessThan(Date.now());
      });
      const isForced = active.phase === from;
      if (isForced) {
        expect(await change(to)).toMatchObject({ unmet: ['instance-stale:proxy-3'] });
        expect(await change(to, { fence: ['proxy-3'] })).toMatchObject({ unmet: ['journal-not-empty:proxy-3'] });
        const force = ['journal-not-empty:proxy-3'];
        expect(await change(to, { force })).toEqual({ phase: to, forced: force });
      }
      await load.wholeRound();
      await third.start();
      expect((await third.get<{ phase: string }>('/status')).phase).toBe(to);
      await load.wholeRound();
      await replayAll(isForced);
    }
  } finally {
    await load.end();
  }
  expect(load.faults).toEqual([]);
  expect(stale).toEqual([]);
  const { proposal, active } = (await ledger.readPhase())!;
  expect({ proposal, phase: active.phase }).toEqual({ proposal: null, phase: 'dual-sync' });
});
