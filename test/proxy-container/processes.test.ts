import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import type { ProxyStatus } from '../../proxy-container/src/admin/status.ts';
import { Flusher } from '../../proxy-container/src/transport/frame-writer.ts';
import { openSession } from '../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { errorReply, MockCluster } from '../support/mock-cluster.ts';
import { ProxyProcess } from '../support/proxy-process.ts';

/** An address that no other run has at the same time: Linux takes all of 127.0.0.0/8. */
const host = `127.52.${(process.pid >> 8) & 0xff}.${process.pid & 0xff}`;
const origin = new MockCluster();
const target = new MockCluster();
let proxy: ProxyProcess;
const clients: UpstreamConnection[] = [];

beforeAll(async () => {
  const [originPort, targetPort] = [await origin.listen(), await target.listen()];
  proxy = new ProxyProcess({
    listen: { host, port: 19042 },
    admin: { host, port: 19080 },
    origin: { host: '127.0.0.1', port: originPort },
    target: { host: '127.0.0.1', port: targetPort },
    login: null,
    proxy: { processes: 2, initialPhase: 'dual-async', filterRules: 'filter-rules.yaml', shadowTimeoutMs: 1000 },
    filterRules: 'version: 1\n',
  });
  await proxy.start();
}, 120_000);

afterAll(async () => {
  for (const client of clients) client.close();
  await proxy.stop();
  await Promise.all([origin.close(), target.close()]);
  proxy.cleanUp();
}, 120_000);

async function connect(): Promise<UpstreamConnection> {
  const client = await UpstreamConnection.open({ host, port: 19042, connectTimeoutMs: 20_000 }, 4, new Flusher());
  clients.push(client);
  const startup = new Map([['CQL_VERSION', '3.0.0']]);
  await openSession(client, { version: 4, startup, credentials: undefined, keyspace: 'ks' }, 20_000);
  return client;
}

async function write(client: UpstreamConnection): Promise<number> {
  const body = encodeQuery('INSERT INTO ks.t (a) VALUES (1)', { consistency: 1, values: [] }, 4);
  return opcodeOf(await client.request(Opcode.QUERY, 0, body, 20_000));
}

const status = () => proxy.get<ProxyStatus>('/status');
const metric = async (series: string): Promise<number> => {
  const text = await proxy.text('/metrics');
  const line = text.split('\n').find((one) => one.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
};

test('the command is the proxy itself, so that nothing goes on when it is killed', async () => {
  expect((await status()).pid).toBe(proxy.pid);
}, 120_000);

test('both processes take their share of the clients, and answer for all of them together', async () => {
  for (let count = 0; count < 20; count++) await connect();
  const { processes = [], clients: all } = await status();
  expect(processes.map(({ instance }) => instance)).toEqual(['test-p1', 'test-p2']);
  expect(all).toBe(20);
  for (const one of processes) expect(one.clients).toBe(10);
  for (const client of clients) expect(await write(client)).toBe(Opcode.RESULT);
  const written = await status();
  expect(written.counters['writes']).toBe(20);
  for (const one of written.processes ?? []) expect(one.counters['writes']).toBe(10);
  expect(await metric('ringshift_requests_total{kind="write"}')).toBe(20);
  expect(await metric('ringshift_table_writes_total{keyspace="ks",table="t"}')).toBe(20);
  expect(await metric('ringshift_client_connections')).toBe(20);
  expect(await metric('ringshift_processes{state="serving"}')).toBe(2);
  expect(await metric('ringshift_epoch')).toBe(1);
}, 120_000);

test('what is prepared in one process can be executed in the other one', async () => {
  const [first, second] = clients;
  const prepare = encodePrepare('INSERT INTO ks.p (a) VALUES (1)', 4);
  const prepared = decodeResult(bodyOf(await first!.request(Opcode.PREPARE, 0, prepare, 20_000)), 4);
  if (prepared.kind !== 'prepared') throw new Error('not prepared');
  const execute = async (client: UpstreamConnection): Promise<number> =>
    opcodeOf(await client.request(Opcode.EXECUTE, 0, encodeExecute(prepared.prepared.id, {}, 4), 20_000));
  await eventually(async () => expect((await status()).preparedStatements).toBe(2));
  for (const client of [first!, second!]) expect(await execute(client)).toBe(Opcode.RESULT);
  expect(await metric('ringshift_prepared_misses_total')).toBe(0);
}, 120_000);

test('a change of phase is acted on by each of them before it is done', async () => {
  await proxy.setPhase('dual-sync');
  const { processes = [], phase } = await status();
  expect(phase).toBe('dual-sync');
  expect(processes.map((one) => one.phase)).toEqual(['dual-sync', 'dual-sync']);
  await expect(proxy.change('PUT', '/phase', { phase: 'target-only' })).rejects.toThrow(/409.*skips a phase/s);
  await proxy.setPhase('dual-async');
}, 120_000);

test('filter rules reach each of them, and faulty ones none', async () => {
  const before = target.seen.length;
  proxy.writeFilterRules('version: 1\ntables: { exclude: [ks.t] }\n');
  await proxy.change('POST', '/filters/reload');
  for (const client of clients) expect(await write(client)).toBe(Opcode.RESULT);
  await eventually(async () => expect((await status()).counters['filteredWrites']).toBe(20));
  expect(target.seen.length).toBe(before);
  proxy.writeFilterRules('nonsense: 1\n');
  await expect(proxy.change('POST', '/filters/reload')).rejects.toThrow(/400.*nonsense/s);
  proxy.writeFilterRules('version: 1\n');
  await proxy.change('POST', '/filters/reload');
  await proxy.change('POST', '/certificates/reload');
}, 120_000);

test('SIGHUP has each of them read its files again', async () => {
  const rules = async () => (await proxy.get<{ tables: { exclude: string[] } }>('/filters')).tables.exclude;
  proxy.writeFilterRules('nonsense: 1\n');
  process.kill((await status()).pid, 'SIGHUP');
  await eventually(async () => {
    const { filterRules, processes = [] } = await status();
    expect([filterRules, ...processes.map((one) => one.filterRules)].every(({ error }) => error !== null)).toBe(true);
  });
  expect(await rules()).toEqual([]);
  proxy.writeFilterRules('version: 1\ntables: { exclude: [ks.hangup] }\n');
  process.kill((await status()).pid, 'SIGHUP');
  await eventually(async () => expect(await rules()).toEqual(['ks.hangup']));
  proxy.writeFilterRules('version: 1\n');
  await proxy.change('POST', '/filters/reload');
  expect((await status()).filterRules.error).toBeNull();
}, 120_000);

test('one that is killed costs its own clients only, is started again, and what is in its journal stays', async () => {
  const [first] = (await status()).processes ?? [];
  const writesBefore = await metric('ringshift_requests_total{kind="write"}');
  // The shadow refuses, and there is no queue: the writes stay in the journals.
  target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  for (const client of clients) await write(client);
  await eventually(async () => expect((await status()).failedWrites.journalMessages).toBe(20));
  expect(await metric('ringshift_journal_messages')).toBe(20);
  // What it has only in memory dies with it.
  await eventually(async () => expect(await metric('ringshift_journaled_writes_total')).toBe(20));
  process.kill(first!.pid, 'SIGKILL');
  await eventually(() => expect(clients.filter(({ isClosed }) => isClosed)).toHaveLength(10));
  for (const client of clients.filter(({ isClosed }) => !isClosed)) expect(await write(client)).toBe(Opcode.RESULT);
  const more = await connect();
  expect(await write(more)).toBe(Opcode.RESULT);
  await eventually(async () => expect((await status()).processes).toHaveLength(2));
  const healed = (await status()).processes![0]!;
  await eventually(async () => expect((await status()).preparedStatements).toBe(2));
  expect(healed.pid).not.toBe(first!.pid);
  expect(healed.failedWrites.journalMessages).toBe(10);
  expect(await metric('ringshift_process_restarts_total')).toBe(1);
  expect(await metric('ringshift_requests_total{kind="write"}')).toBeGreaterThan(writesBefore);
  target.handlers.delete(Opcode.QUERY);
}, 120_000);

test('SIGTERM drains all of them', async () => {
  expect(await proxy.stop()).toBe(0);
  expect(proxy.output.match(/"msg":"draining"/g)?.length).toBeGreaterThanOrEqual(3);
  expect(existsSync(join(proxy.folder, 'journal', 'process-1', 'lock'))).toBe(false);
}, 120_000);
