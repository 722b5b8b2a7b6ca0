import { beforeEach, expect, test } from 'vitest';
import { parseDifferenceLines } from '#core/checksum/difference-line.ts';
import { serializeKey } from '#core/checksum/selected-row.ts';
import { encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { ClusterUnreachableError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES, parseFilterRules } from '#core/filter/filter-rules.ts';
import { originBytesPerSecond } from '#core/jobs/read-budget.ts';
import { reconcileRange } from '#core/jobs/reconcile-range.ts';
import { validateRange } from '#core/jobs/validate-range.ts';
import { encodeValidationTable, type ValidationItem } from '#core/jobs/validation-plan.ts';
import type { ValidationOptions, ValidationPorts } from '#core/jobs/validation-ports.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { MAX_TOKEN, MIN_TOKEN, tokenOf } from '#core/token/token.ts';
import { MemoryCluster } from '../../support/memory-cluster.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const text: CqlType = { kind: 'native', name: 'text' };
const schema: TableSchema = {
  keyspace: 'ks',
  table: 't',
  partitionKey: [{ name: 'k', type: text }],
  clustering: [{ name: 'c', type: { kind: 'native', name: 'int' }, reversed: true }],
  staticColumns: [{ name: 's', type: text }],
  regularColumns: [
    { name: 'l', type: { kind: 'list', element: text, frozen: false } },
    { name: 'v', type: text },
  ],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};

const NOW = 1_800_000_000;
const WRITTEN = BigInt(NOW - 3600) * 1_000_000n;
const SETTLE_MS = 1000;

let origin: MemoryCluster;
let target: MemoryCluster;
let nowMillis: number;
let ports: ValidationPorts;
let options: ValidationOptions;
const item: ValidationItem = {
  runId: 'run-1',
  index: 0,
  keyspace: 'ks',
  table: 't',
  start: MIN_TOKEN.toString(),
  end: MAX_TOKEN.toString(),
  bytes: 0,
  tableKey: 'runs/run-1/tables/ks.t.json',
};

beforeEach(async () => {
  origin = new MemoryCluster(schema);
  target = new MemoryCluster(schema);
  nowMillis = NOW * 1000;
  ports = {
    origin,
    target,
    objects: createMemoryObjectStore(),
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => nowMillis },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async (ms) => {
      nowMillis += ms;
    },
  };
  options = {
    originConsistency: Consistency.LOCAL_QUORUM,
    targetConsistency: Consistency.LOCAL_QUORUM,
    filter: createFilter(NO_FILTER_RULES),
    settleMs: SETTLE_MS,
    pageSize: 7,
  };
  await ports.objects.put(
    item.tableKey,
    encodeValidationTable({ schema, elementWriteTimes: false, compareWriteTime: true, samplePercent: 100 }),
  );
  for (let k = 0; k < 20; k++) for (let c = 0; c < 3; c++) both(`k${k}`, c, `v${k}.${c}`);
});

function put(cluster: MemoryCluster, k: string, c: number, v: string, at = WRITTEN): void {
  cluster.apply('INSERT INTO ks.t (k, c, v) VALUES (?, ?, ?)', [encodeText(k), encodeInt(c), encodeText(v)], {
    timestampMicros: at,
  });
}

function both(k: string, c: number, v: string): void {
  put(origin, k, c, v);
  put(target, k, c, v);
}

function update(
  cluster: MemoryCluster,
  column: string,
  value: Uint8Array,
  k: string,
  c: number | null,
  at = WRITTEN,
): void {
  const where = c === null ? 'k = ?' : 'k = ? AND c = ?';
  const key = c === null ? [encodeText(k)] : [encodeText(k), encodeInt(c)];
  cluster.apply(`UPDATE ks.t USING TIMESTAMP ? SET ${column} = ? WHERE ${where}`, [encodeBigint(at), value, ...key]);
}

async function differences() {
  const body = await ports.objects.get('runs/run-1/differences/000000.jsonl');
  return body ? parseDifferenceLines(body, 'differences') : [];
}

const reconcile = (tableKey = item.tableKey) =>
  reconcileRange({ ...item, tableKey }, null, ports, {
    ...options,
    originWriteConsistency: Consistency.LOCAL_QUORUM,
    targetWriteConsistency: Consistency.LOCAL_QUORUM,
    authority: 'origin',
  });

test('equal clusters have no differences, and the record says how much was compared', async () => {
  const outcome = await validateRange(item, null, ports, options);
  expect(outcome).toMatchObject({
    kind: 'done',
    counts: { partitions: 20, originRows: 60, targetRows: 60, differing: 0 },
  });
  expect(await ports.ledger.readRange('run-1', 0)).toMatchObject({ state: 'done', counts: { partitions: 20 } });
  expect(await differences()).toEqual([]);
});

test('each kind of damage is named with key, column, values and write times', async () => {
  const later = WRITTEN + 5n;
  update(target, 'v', encodeText('bad'), 'k1', 1, later);
  put(origin, 'lost', 0, 'x');
  put(target, 'extra', 0, 'y');
  update(target, 'v', encodeText('v2.0'), 'k2', 0, later);
  origin.apply('UPDATE ks.t USING TIMESTAMP ? SET s = ? WHERE k = ?', [
    encodeBigint(WRITTEN),
    encodeText('st'),
    encodeText('k3'),
  ]);
  put(target, 'k4', 9, 'more');
  update(origin, 'l', list('a', 'b'), 'k5', 0);
  update(target, 'l', list('b', 'a'), 'k5', 0);
  const { counts } = await validateRange(item, null, ports, options);
  expect(counts).toMatchObject({ partitions: 22, differing: 7, onlyInOrigin: 1, onlyInTarget: 1, inFlight: 0 });
  const byKey = new Map((await differences()).map((line) => [line.key['k'], line]));
  expect([...byKey.keys()].sort()).toEqual(["'extra'", "'k1'", "'k2'", "'k3'", "'k4'", "'k5'", "'lost'"]);
  expect(byKey.get("'k1'")?.rows).toEqual([
    {
      kind: 'differs',
      isStatic: false,
      clustering: { c: '1' },
      columns: [
        {
          column: 'v',
          what: 'value',
          origin: { value: "'v1.1'", writeTime: String(WRITTEN), expiresAt: null },
          target: { value: "'bad'", writeTime: String(later), expiresAt: null },
        },
      ],
    },
  ]);
  expect(byKey.get("'k2'")?.rows[0]?.columns[0]).toMatchObject({ column: 'v', what: 'writeTime' });
  expect(byKey.get("'k3'")?.rows[0]).toMatchObject({
    isStatic: true,
    columns: [{ column: 's', what: 'onlyInOrigin' }],
  });
  expect(byKey.get("'k4'")?.rows[0]).toMatchObject({ kind: 'onlyInTarget', clustering: { c: '9' } });
  expect(byKey.get("'k5'")?.rows[0]?.columns[0]).toMatchObject({ column: 'l', what: 'value' });
});

test('a write on its way is no difference', async () => {
  put(origin, 'k1', 1, 'new', WRITTEN + 9n);
  let scans = 0;
  target.onRequest = (statement) => {
    if (statement === target.table.scanText) scans++;
    else put(target, 'k1', 1, 'new', WRITTEN + 9n);
  };
  const { counts } = await validateRange(item, null, ports, options);
  expect(scans).toBeGreaterThan(0);
  expect(counts).toMatchObject({ differing: 0, inFlight: 1 });
});

test('a partition that never rests is counted apart from the differing ones', async () => {
  put(origin, 'k1', 1, 'a', WRITTEN + 1n);
  let writes = 1n;
  origin.onRequest = () => put(origin, 'k1', 1, 'a', WRITTEN + ++writes);
  const { counts } = await validateRange(item, null, ports, options);
  expect(counts).toMatchObject({ differing: 0, unsettled: 1 });
});

test('expiry within two seconds is the same, beyond it differs', async () => {
  const insert = 'UPDATE ks.t USING TIMESTAMP ? AND TTL ? SET v = ? WHERE k = ? AND c = ?';
  for (const [k, drift] of [
    ['near', 2],
    ['far', 3],
  ] as const) {
    const key = [encodeText(k), encodeInt(0)];
    origin.apply(insert, [encodeBigint(WRITTEN), encodeInt(500), encodeText('x'), ...key]);
    target.apply(insert, [encodeBigint(WRITTEN), encodeInt(500 + drift), encodeText('x'), ...key]);
  }
  await validateRange(item, null, ports, options);
  expect((await differences()).map((line) => [line.key['k'], line.rows[0]?.columns[0]?.what])).toEqual([
    ["'far'", 'expiry'],
  ]);
});

test('what the filter keeps on the origin is not missed on the target', async () => {
  put(origin, 'stays', 0, 'x');
  const rules = parseFilterRules('tenants:\n  columns: [k]\n  exclude: [stays]\n', 'test');
  const { counts } = await validateRange(item, null, ports, { ...options, filter: createFilter(rules) });
  expect(counts).toMatchObject({ partitions: 20, differing: 0 });
});

test('a range that nears its deadline goes on from its checkpoint and loses or repeats no partition', async () => {
  put(target, 'extra', 0, 'y');
  put(origin, 'lost', 0, 'x');
  const deadline = { ...options, deadlineMillis: nowMillis };
  let checkpoint: string | null = null;
  let calls = 0;
  for (;;) {
    calls++;
    const outcome = await validateRange(item, checkpoint, ports, { ...deadline, deadlineMillis: nowMillis });
    if (outcome.kind === 'done') break;
    checkpoint = outcome.next;
  }
  expect(calls).toBeGreaterThan(10);
  const record = await ports.ledger.readRange('run-1', 0);
  expect(record).toMatchObject({ state: 'done', counts: { partitions: 22, differing: 2, parts: 2 } });
});

test('a cluster that fails leaves a failed range with its error in the ledger', async () => {
  target.onRequest = () => {
    throw new ClusterUnreachableError('no node of the target answers');
  };
  await expect(validateRange(item, null, ports, options)).rejects.toThrow(ClusterUnreachableError);
  expect(await ports.ledger.readRange('run-1', 0)).toMatchObject({
    state: 'failed',
    error: { name: 'ClusterUnreachableError', message: 'no node of the target answers' },
  });
});

test('reconciling makes the clusters the same, also where the target holds something newer', async () => {
  const later = WRITTEN + 5n;
  update(target, 'v', encodeText('bad'), 'k1', 1, later);
  put(origin, 'lost', 0, 'x');
  put(target, 'extra', 0, 'y');
  update(target, 'v', encodeText('v2.0'), 'k2', 0, later);
  update(target, 's', encodeText('st'), 'k3', null);
  update(origin, 'l', list('a', 'b'), 'k5', 0);
  target.apply('DELETE FROM ks.t USING TIMESTAMP ? WHERE k = ? AND c = ?', [
    encodeBigint(later),
    encodeText('k6'),
    encodeInt(0),
  ]);
  origin.apply('INSERT INTO ks.t (k, c) VALUES (?, ?)', [encodeText('k7'), encodeInt(5)], { timestampMicros: WRITTEN });
  await validateRange(item, null, ports, options);
  const { counts } = await reconcile();
  expect(counts).toMatchObject({ repaired: 8, unrepaired: 0 });
  const again = await validateRange({ ...item, index: 1 }, null, ports, options);
  expect(again.counts).toMatchObject({ differing: 0, inFlight: 0 });
  expect(await ports.ledger.readRange('run-1', 0)).toMatchObject({ counts: { differing: 8, repaired: 8 } });
});

test('reconciling writes a missing row with its own timestamps and touches nothing else', async () => {
  put(origin, 'lost', 0, 'x', WRITTEN + 77n);
  const before = origin.written.length;
  await validateRange(item, null, ports, options);
  await reconcile();
  expect(origin.written.length).toBe(before);
  expect(target.contents()).toEqual(origin.contents());
});

test('a write of the application that arrives during the repair survives it', async () => {
  put(origin, 'k1', 1, 'right', WRITTEN + 1n);
  await validateRange(item, null, ports, options);
  const fresh = BigInt(nowMillis) * 1000n;
  let isDone = false;
  target.onRequest = (statement) => {
    if (isDone || !statement.startsWith('UPDATE')) return;
    isDone = true;
    put(target, 'k1', 1, 'fresh', fresh);
    put(origin, 'k1', 1, 'fresh', fresh);
  };
  await reconcile();
  expect(isDone).toBe(true);
  expect(target.contents()).toEqual(origin.contents());
  expect(JSON.stringify(target.contents())).toContain(Buffer.from('fresh').toString('hex'));
});

function list(...items: string[]): Uint8Array {
  const parts = items.flatMap((each) => [encodeInt(Buffer.byteLength(each)), encodeText(each)]);
  return new Uint8Array(Buffer.concat([encodeInt(items.length), ...parts]));
}

test('a range reads the origin no faster than its share of the budget', async () => {
  let bytes = 0;
  const { execute } = origin;
  origin.execute = async (...request) => {
    const page = await execute.apply(origin, request);
    for (const row of page.rows) for (const value of row) bytes += 4 + (value?.length ?? 0);
    return page;
  };
  const perSecond = originBytesPerSecond({ originReadMBps: 0.002, maxConcurrency: 4 });
  expect(perSecond).toBe(500);
  const started = nowMillis;
  await validateRange(item, null, ports, { ...options, originBytesPerSecond: perSecond });
  const seconds = (nowMillis - started) / 1000;
  expect(bytes).toBeGreaterThan(2000);
  // Two seconds may be used ahead: the one before the start and the one at the end.
  expect(seconds).toBeGreaterThanOrEqual(bytes / perSecond - 2);
  expect(seconds).toBeLessThanOrEqual(bytes / perSecond);
});

test('only the places of an item are read, and what differs there is marked before the range is done', async () => {
  const tokenOfKey = (k: string) => tokenOf(serializeKey([encodeText(k)]));
  const placeOf = (k: string) => ({ start: String(tokenOfKey(k) - 1n), end: String(tokenOfKey(k)) });
  const places = [placeOf('k3'), placeOf('k11')].sort((a, b) => (BigInt(a.end) < BigInt(b.end) ? -1 : 1));
  put(target, 'k3', 77, 'extra');
  put(target, 'k5', 77, 'in no place');
  const narrow = { ...item, start: places[0]!.start, end: places[1]!.end, places };
  let isMarked = false;
  const { ledger } = ports;
  const putRange: typeof ledger.putRange = async (record) => {
    isMarked = (await ledger.listSuspects()).length === 1;
    await ledger.putRange(record);
  };
  const outcome = await validateRange(narrow, null, { ...ports, ledger: { ...ledger, putRange } }, options);
  expect(outcome.counts).toMatchObject({ partitions: 2, differing: 1 });
  expect(isMarked).toBe(true);
  expect(await ledger.listSuspects()).toMatchObject([{ tokens: [String(tokenOfKey('k3'))], code: 'validation' }]);
});

test('differing counters are left and counted, and do not end the repair of other tables', async () => {
  put(origin, 'lost', 0, 'x');
  await validateRange(item, null, ports, options);
  const counters = encodeValidationTable({
    ...{ schema: { ...schema, isCounter: true }, elementWriteTimes: false },
    ...{ compareWriteTime: true, samplePercent: 100 },
  });
  const tableKey = 'runs/run-1/tables/ks.counters.json';
  await ports.objects.put(tableKey, counters);
  const before = target.contents();
  expect(await reconcile(tableKey)).toMatchObject({
    kind: 'done',
    counts: { repaired: 0, unrepaired: 1, counters: 1 },
  });
  expect(target.contents()).toEqual(before);
  expect(await ports.ledger.readRange('run-1', 0)).toMatchObject({ counts: { differing: 1, counters: 1 } });
});
