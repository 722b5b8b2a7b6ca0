import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { Consistency } from '#core/model/cql-request.ts';
import {
  labelText,
  type MetricFamily,
  mergeMetrics,
  renderMetrics,
} from '../../proxy-container/src/admin/metric-family.ts';
import { RuntimeWatch } from '../../proxy-container/src/admin/runtime-watch.ts';
import { ClusterErrors } from '../../proxy-container/src/counters/cluster-errors.ts';
import { TableCounters, TableRegistry } from '../../proxy-container/src/counters/table-counters.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { ShadowQueue } from '../../proxy-container/src/writes/shadow-queue.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { errorReply } from '../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;

beforeAll(async () => {
  parts = await startTestProxy({
    initialPhase: 'dual-async',
    admin: { port: 0, zdmMetricsPrefix: 'zdm' },
    shadowTimeoutMs: 60_000,
  });
  client = await parts.connect();
});
afterAll(() => parts.stop());

async function series(): Promise<Map<string, number>> {
  const text = await (await fetch(`${parts.adminUrl}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
}
const query = async (text: string): Promise<number> => {
  const body = encodeQuery(text, { consistency: Consistency.ONE }, 4);
  return opcodeOf(await client.request(Opcode.QUERY, 0, body, 20_000));
};
const insert = (table: string) => query(`INSERT INTO ${table} (a) VALUES (1)`);

test("readiness has zdm-proxy's form as well", async () => {
  const cluster = { Addr: '127.0.0.1', CurrentFailureCount: 0, FailureCountThreshold: 1, Status: 'UP' };
  await eventually(async () => {
    const response = await fetch(`${parts.adminUrl}/health/readiness`);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ OriginStatus: cluster, TargetStatus: cluster, Status: 'UP' });
  });
  expect((await fetch(`${parts.adminUrl}/health/liveness`)).status).toBe(200);
});

test('writes are counted by table, those of text batches too, and only where the cluster took them', async () => {
  for (const table of ['ks.one', 'ks.one', 'other.two']) expect(await insert(table)).toBe(Opcode.RESULT);
  const batch = 'BEGIN BATCH INSERT INTO ks.one (a) VALUES (1); DELETE FROM three WHERE a = 1; APPLY BATCH';
  expect(await query(batch)).toBe(Opcode.RESULT);
  parts.origin.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.INVALID));
  expect(await insert('ks.no_such_table')).toBe(Opcode.ERROR);
  parts.origin.handlers.delete(Opcode.QUERY);
  const found = await series();
  expect(found.get('ringshift_table_writes_total{keyspace="ks",table="one"}')).toBe(3);
  expect(found.get('ringshift_table_writes_total{keyspace="other",table="two"}')).toBe(1);
  expect(found.get('ringshift_table_writes_total{keyspace="ks",table="three"}')).toBe(1);
  expect([...found.keys()].join()).not.toContain('no_such_table');
  expect(found.get('ringshift_cluster_errors_total{cluster="origin",error="other"}')).toBe(1);
  expect(found.get('ringshift_request_duration_seconds_count{kind="write",cluster="origin"}')).toBe(5);
  expect(found.get('ringshift_requests_total{kind="write"}')).toBe(5);
});

test('copies that fail or take long are seen at their table', async () => {
  parts.target.handlers.set(Opcode.QUERY, () => errorReply(ErrorCode.OVERLOADED));
  await insert('ks.failing');
  await eventually(async () => {
    const found = await series();
    expect(found.get('ringshift_table_shadow_failures_total{keyspace="ks",table="failing"}')).toBe(1);
    expect(found.get('ringshift_cluster_errors_total{cluster="target",error="overloaded"}')).toBe(1);
  });
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  await insert('ks.hanging');
  await eventually(async () => {
    const found = await series();
    expect(found.get('ringshift_table_shadow_lag_seconds{keyspace="ks",table="hanging"}')).toBeGreaterThan(0.02);
    expect(found.get('ringshift_shadow_lag_seconds')).toBeGreaterThan(0.02);
    expect(found.get('ringshift_table_shadow_lag_seconds{keyspace="ks",table="one"}')).toBe(0);
    expect(found.get('ringshift_shadow_in_flight')).toBe(1);
  });
  parts.target.handlers.delete(Opcode.QUERY);
  parts.target.disconnect();
  await eventually(async () => expect((await series()).get('ringshift_shadow_lag_seconds')).toBe(0));
});

test('a prepared statement is measured, and its table counted without a look-up by name', async () => {
  const reply = await client.request(
    Opcode.PREPARE,
    0,
    encodePrepare('INSERT INTO ks.prepared (a) VALUES (1)', 4),
    20_000,
  );
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
  const found = await series();
  expect(found.get('ringshift_request_duration_seconds_count{kind="prepare",cluster="origin"}')).toBe(1);
  expect(found.get('ringshift_prepared_statements')).toBe(1);
});

test("the same is shown by zdm-proxy's names", async () => {
  const found = await series();
  expect(found.get('zdm_client_connections_total')).toBe(found.get('ringshift_client_connections'));
  expect(found.get('zdm_proxy_request_duration_seconds_count{type="writes"}')).toBe(
    found.get('ringshift_requests_total{kind="write"}'),
  );
  expect(found.get('zdm_origin_request_duration_seconds_count{node="all",type="writes"}')).toBeGreaterThan(0);
  expect(found.get('zdm_target_request_duration_seconds_count{node="all",type="writes"}')).toBeGreaterThan(0);
  expect(found.get('zdm_target_requests_failed_total{node="all",error="overloaded"}')).toBe(1);
  for (const name of [
    'zdm_proxy_failed_writes_total{failed_on="both"}',
    'zdm_proxy_failed_reads_total{cluster="origin"}',
    'zdm_proxy_failed_connections_total{cluster="target"}',
    'zdm_proxy_inflight_requests_total{type="reads_origin"}',
    'zdm_pscache_entries_total',
    'zdm_pscache_miss_total',
    'zdm_target_connections_total{node="all"}',
    'zdm_origin_used_stream_ids_total{node="all"}',
  ]) {
    expect([name, found.has(name)]).toEqual([name, true]);
  }
});

test('tables beyond the bound, and names that no table has, are counted together', () => {
  const tables = new TableRegistry(2);
  const first = tables.of('a', 't');
  expect(tables.of('a', 't')).toBe(first);
  tables.of('b', 't');
  const rest = tables.of('c', 't');
  expect(rest).toMatchObject({ keyspace: 'other', table: 'other' });
  expect(tables.of('d'.repeat(300), 't')).toBe(rest);
  expect(tables.of(undefined, 't')).toBe(rest);
  expect(tables.all.map(({ keyspace }) => keyspace)).toEqual(['a', 'b', 'other']);
});

test('the chain of copies knows the oldest of all and of each table, in whatever order they end', () => {
  const tables = ['x', 'y'].map((name) => new TableCounters('ks', name));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 9 }), fc.boolean())), (steps) => {
      const queue = new ShadowQueue();
      const open: ReturnType<ShadowQueue['enter']>[] = [];
      for (const [at, [table, pick, leaves]] of steps.entries()) {
        if (leaves && open.length > 0) queue.leave(open.splice(pick % open.length, 1)[0]!);
        else open.push(queue.enter(tables[table]!, at));
        const { allMs, byTableMs } = queue.lag(1000);
        const age = (links: typeof open) =>
          links.length === 0 ? 0 : 1000 - Math.min(...links.map((one) => one.startedMs));
        expect(allMs).toBe(age(open));
        for (const one of tables) expect(byTableMs.get(one) ?? 0).toBe(age(open.filter((link) => link.table === one)));
      }
    }),
  );
});

test('processes are put together by the rule of each metric', () => {
  const family = (merge: MetricFamily['merge'], value: number): MetricFamily => ({
    name: `m_${merge}`,
    help: 'x',
    type: 'gauge',
    labels: [],
    merge,
    samples: [['', value]],
  });
  const all = (value: number) => (['sum', 'max', 'min'] as const).map((merge) => family(merge, value));
  const only: MetricFamily = { ...family('sum', 7), name: 'only', samples: [['{a="b"}', 7]] };
  const merged = mergeMetrics([all(2), [...all(5), only]]);
  expect(merged.map(({ name, samples }) => [name, samples])).toEqual([
    ['m_sum', [['', 7]]],
    ['m_max', [['', 5]]],
    ['m_min', [['', 2]]],
    ['only', [['{a="b"}', 7]]],
  ]);
});

test('labels are escaped, and a metric without values has no lines', () => {
  expect(labelText({ table: 'a"b\\c\nd' })).toBe('{table="a\\"b\\\\c\\nd"}');
  const empty: MetricFamily = { name: 'x', help: 'x', type: 'gauge', labels: [], merge: 'sum', samples: [] };
  expect(renderMetrics([empty, { ...empty, name: 'y', samples: [['', 1]] }])).toBe('# HELP y x\n# TYPE y gauge\ny 1\n');
});

test('errors are counted by kind, unknown codes as other', () => {
  const errors = new ClusterErrors();
  for (const code of [ErrorCode.READ_TIMEOUT, ErrorCode.UNAVAILABLE, 0x7777, -1]) errors.note(code);
  errors.noteTimeout();
  const counts = Object.fromEntries([...errors.counts].filter(([, count]) => count > 0));
  expect(counts).toEqual({ client_timeout: 1, read_timeout: 1, unavailable: 1, other: 2 });
});

test('pauses and delays of the process are seen', async () => {
  const watch = new RuntimeWatch();
  try {
    await eventually(() => {
      // Dies young, which is what a scavenge is for.
      for (let round = 0; round < 20; round++) Array.from({ length: 50_000 }, (_, index) => ({ index }));
      const pauses = Object.values(watch.gcPauses).reduce((sum, { count }) => sum + count, 0);
      expect(pauses).toBeGreaterThan(0);
    });
    expect(watch.takeLoopUtilization()).toBeGreaterThan(0);
    expect(watch.takeLoopDelays().map(([quantile]) => quantile)).toEqual(['0.5', '0.99', '1']);
  } finally {
    watch.stop();
  }
});
