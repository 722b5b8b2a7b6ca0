import fc from 'fast-check';
import { expect, test } from 'vitest';
import { phases } from '#core/config/schema.ts';
import { encodeFrame, HEADER_BYTES, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { encodeList, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import { createFilter } from '#core/filter/filter.ts';
import { parseFilterRules } from '#core/filter/filter-rules.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { classify } from '#core/statement/classify.ts';
import { LatencyHistogram } from '../../proxy-container/src/counters/latency.ts';
import { PhaseGate } from '../../proxy-container/src/phase/phase-gate.ts';
import { hasMorePages, markPage, readPagingMark } from '../../proxy-container/src/requests/paging.ts';
import { PreparedStatements } from '../../proxy-container/src/requests/prepared-statements.ts';
import { classOf, routeOf } from '../../proxy-container/src/requests/route.ts';
import { exclusionOf } from '../../proxy-container/src/requests/tenant.ts';
import { StreamIds } from '../../proxy-container/src/transport/stream-ids.ts';
import { highestVersion } from '../../proxy-container/src/upstream/cluster-facts.ts';
import { treatmentOf } from '../../proxy-container/src/writes/replayable.ts';
import { TimestampGenerator } from '../../proxy-container/src/writes/timestamps.ts';

test('write times never repeat and never go back, whatever the clock does', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2_000_000_000 }), { minLength: 2 }), (clock) => {
      let at = 0;
      const generator = new TimestampGenerator(() => clock[at++ % clock.length]!);
      let last = -1;
      for (let index = 0; index < clock.length * 2; index++) {
        const next = generator.next();
        expect(next).toBeGreaterThan(last);
        last = next;
      }
    }),
  );
});

test('the lead over the own clock grows and never shrinks', () => {
  const generator = new TimestampGenerator(() => 1000);
  generator.aheadBy(5000);
  generator.aheadBy(100);
  expect(generator.next()).toBe(1_005_000);
});

test('no stream id is in use twice, and the limit holds', () => {
  const ids = new StreamIds(3);
  const taken = [ids.take(), ids.take(), ids.take()];
  expect(new Set(taken).size).toBe(3);
  expect(ids.take()).toBe(-1);
  ids.release(taken[1]!);
  expect(ids.take()).toBe(taken[1]);
  expect(ids.used).toBe(3);
});

test.each([
  ['origin-only', 'origin', undefined, false],
  ['dual-async', 'origin', 'target', false],
  ['dual-sync', 'origin', 'target', true],
  ['target-primary', 'target', 'origin', false],
  ['target-only', 'target', undefined, false],
] as const)('in %s the primary is the %s and the shadow %s', (phase, primary, shadow, isSync) => {
  expect(routeOf(phase, false)).toEqual({ primary, shadow, isSync });
});

test('what a filter excludes goes to the origin alone in every phase, and nowhere when the origin is given up', () => {
  for (const phase of phases.filter((one) => one !== 'target-only')) {
    expect(routeOf(phase, true)).toMatchObject({ primary: 'origin', shadow: undefined });
  }
  expect(routeOf('target-only', true)).toBeUndefined();
});

test.each([
  ['SELECT * FROM t', 'read'],
  ['insert into t (a) values (1)', 'write'],
  ['UPDATE t SET a = 1 WHERE b = 2 IF a = 0', 'lwt'],
  ['BEGIN BATCH INSERT INTO t (a) VALUES (1) APPLY BATCH', 'write'],
  ['CREATE TABLE t (a int PRIMARY KEY)', 'definition'],
  ['TRUNCATE t', 'definition'],
  ['GRANT SELECT ON t TO r', 'role'],
  ['LIST ROLES', 'read'],
  ['something that nobody knows', 'definition'],
] as const)('%s is a %s', (text, requestClass) => {
  expect(classOf(classify(text))).toBe(requestClass);
});

const tenant = 'e19206ba-c584-11e8-882a-0a580a30028e';
const filter = createFilter(parseFilterRules(`tenants: { columns: [tenant], exclude: [${tenant}] }`, 'f.yaml'));
const other = '00000000-c584-11e8-882a-0a580a30028e';

test.each([
  [`INSERT INTO t (id, tenant) VALUES (1, ${tenant})`, [], 'excluded'],
  [`INSERT INTO t (id, tenant) VALUES (1, ${other})`, [], 'migrate'],
  ['INSERT INTO t (id, tenant) VALUES (?, ?)', [encodeText('x'), encodeUuid(tenant)], 'excluded'],
  [
    'UPDATE t SET v = ? WHERE tenant = ? AND id = ?',
    [encodeText('x'), encodeUuid(tenant), encodeText('y')],
    'excluded',
  ],
  [`SELECT * FROM t WHERE tenant IN (${tenant}, ${other})`, [], 'mixed'],
  ['SELECT * FROM t WHERE tenant IN ?', [encodeList([encodeUuid(tenant)])], 'excluded'],
  [`INSERT INTO t JSON '{"tenant": "${tenant}"}'`, [], 'excluded'],
  [
    `BEGIN BATCH DELETE FROM t WHERE tenant = ${tenant} INSERT INTO t (tenant) VALUES (${other}) APPLY BATCH`,
    [],
    'mixed',
  ],
  ['SELECT * FROM t', [], 'migrate'],
] as const)('%s is judged by the tenant that it binds', (text, values, expected) => {
  expect(exclusionOf(filter, classify(text), 'ks', (index) => values[index])).toBe(expected);
});

test('a paging state carries its cluster through the client and back', () => {
  const state = Buffer.from('the state of a cluster');
  const body = encodeRows({ columnCount: 1, pagingState: state }, [[encodeText('row')]]);
  const header = { version: 4, isResponse: true, flags: 0, streamId: 7, opcode: Opcode.RESULT };
  const frame = encodeFrame(header, body);
  expect(hasMorePages(frame, 0)).toBe(true);
  const marked = markPage(frame, 0, 'target');
  expect(marked.readInt32BE(5)).toBe(marked.length - HEADER_BYTES);
  expect(opcodeOf(marked)).toBe(Opcode.RESULT);
  const result = decodeResult(marked.subarray(HEADER_BYTES), 4);
  if (result.kind !== 'rows') throw new Error('no rows');
  expect(result.rows).toEqual([[encodeText('row')]]);
  const mark = readPagingMark(result.metadata.pagingState!);
  expect(mark).toEqual({ cluster: 'target', stateBytes: state.length });
  expect(readPagingMark(state)).toEqual({ cluster: 'origin', stateBytes: state.length });
});

test('the last page of a result is not touched', () => {
  const header = { version: 4, isResponse: true, flags: 0, streamId: 7, opcode: Opcode.RESULT };
  expect(hasMorePages(encodeFrame(header, encodeRows({ columnCount: 1 }, [[encodeText('row')]])), 0)).toBe(false);
});

test('prepared ids are those of the text and keyspace, and the memory of them is bounded', () => {
  const prepared = new PreparedStatements(20_000);
  const first = prepared.entryOf('SELECT * FROM t WHERE id = ?', 'a');
  expect(new PreparedStatements().entryOf('SELECT * FROM t WHERE id = ?', 'a').id).toEqual(first.id);
  expect(prepared.entryOf('SELECT * FROM t WHERE id = ?', 'b').id).not.toEqual(first.id);
  for (let index = 0; index < 100; index++) prepared.entryOf(`SELECT ${index} FROM t`, 'a');
  expect(prepared.size).toBeLessThan(20);
  expect(prepared.find(first.id)).toBeUndefined();
});

test.each([
  ['INSERT INTO ks.t (id) VALUES (?)', undefined, 'SERT INTO ks.t (id) VALUES (?)', 'IN'],
  ["INSERT INTO ks.t (v) VALUES ('SELECT 1')", undefined, "SELECT 1')", "INSERT INTO ks.t (v) VALUES ('"],
  ['SELECT * FROM t', 'ks', '\0SELECT * FROM t', 'ks'],
])('no client makes another one get a statement that it did not prepare: %s', (text, keyspace, otherText, other) => {
  const prepared = new PreparedStatements();
  const spoiling = prepared.entryOf(otherText, other);
  const entry = prepared.entryOf(text, keyspace);
  expect(entry.id).not.toEqual(spoiling.id);
  expect(prepared.find(entry.id)).toMatchObject({ clientText: text, keyspace });
});

const facts = (more: Partial<TableFacts>): TableFacts => ({
  isCounter: false,
  lists: new Set(),
  multiCell: new Set(),
  partitionKey: ['a'],
  clustering: [],
  statics: new Set(),
  keyTypes: new Map(),
  regulars: new Set(),
  defaultTtlSeconds: 0,
  ...more,
});
const plain = facts({});
const lists = facts({ lists: new Set(['l']) });
const marked = (code: string) => ({ code, obstacle: expect.any(String) });
test.each([
  ['INSERT INTO t (a) VALUES (?)', plain, 'replay'],
  ['UPDATE t SET c = c + 1 WHERE a = 1', facts({ isCounter: true }), marked('counter')],
  ['UPDATE t SET s = s + ? WHERE a = 1', plain, 'replay'],
  ['UPDATE t SET s = s + ? WHERE a = 1', undefined, marked('counter')],
  ["UPDATE t SET s = s + {'x'} WHERE a = 1", undefined, marked('list')],
  ['UPDATE t SET l = l + ? WHERE a = 1', lists, 'readBack'],
  ['INSERT INTO t (a, l) VALUES (1, ?)', lists, 'readBack'],
  ['INSERT INTO t JSON ?', lists, 'readBack'],
  ['UPDATE t SET !!! WHERE a = 1', lists, 'readBack'],
  ['DELETE l FROM t WHERE a = 1', lists, 'replay'],
  ['DELETE l[1] FROM t WHERE a = 1', lists, 'readBack'],
  ['INSERT INTO t (a) VALUES (my_function(1))', plain, marked('function')],
] as const)('what becomes of %s when it fails', (text, facts, treatment) => {
  expect(treatmentOf(classify(text), facts)).toEqual(treatment);
});

test('beta versions are not spoken, and a server that names none speaks v4', () => {
  expect(highestVersion(['3/v3', '4/v4', '5/v5-beta'])).toBe(4);
  expect(highestVersion(['4/v4', '5/v5', '6/v6-beta'])).toBe(5);
  expect(highestVersion(undefined)).toBe(4);
});

test('a gate holds new requests until what is under way has ended and the next epoch is in force', async () => {
  const gate = new PhaseGate('dual-sync', 1);
  const order: string[] = [];
  const epoch = gate.enter();
  const drained = gate.holdAndDrain(5000).then((isDrained) => order.push(`drained ${isDrained}`));
  gate.hold({ byteCount: 1, run: () => order.push(`held request in ${gate.phase}`) });
  gate.leave(epoch);
  await drained;
  gate.act('target-primary', 2);
  expect(order).toEqual(['drained true', 'held request in target-primary']);
  expect(gate.isHolding).toBe(false);
});

test('a gate tells the requests of earlier epochs from those of the one in force, and their copies too', () => {
  const gate = new PhaseGate('origin-only', 1);
  const first = gate.enter();
  gate.act('dual-async', 2);
  const second = gate.enter();
  expect([gate.inFlight, gate.earlierInFlight]).toEqual([2, 1]);
  gate.leave(first);
  expect([gate.inFlight, gate.earlierInFlight]).toEqual([1, 0]);
  gate.act('dual-sync', 3);
  // Its copy leaves when another epoch is in force already.
  const copy = gate.enter(second);
  gate.leave(second);
  expect([gate.inFlight, gate.earlierInFlight]).toEqual([1, 1]);
  gate.leave(copy);
  expect([gate.inFlight, gate.earlierInFlight]).toEqual([0, 0]);
});

test('a gate says when requests under way do not end', async () => {
  const gate = new PhaseGate('dual-sync', 1);
  gate.enter();
  expect(await gate.holdAndDrain(10)).toBe(false);
  expect(gate.isHolding).toBe(true);
});

test('a gate keeps no more requests than it has room for, and forgets those that are dropped', async () => {
  const gate = new PhaseGate('dual-sync', 1);
  await gate.holdAndDrain(10);
  let ran = 0;
  const run = () => {
    ran++;
  };
  const large = { byteCount: 60 * 1024 * 1024, run };
  expect(gate.hold(large)).toBe(true);
  expect(gate.hold({ byteCount: 5 * 1024 * 1024, run })).toBe(false);
  gate.drop(large);
  expect(gate.heldBytes).toBe(0);
  let kept = 0;
  while (kept < 100_000 && gate.hold({ byteCount: 1, run })) kept++;
  expect(kept).toBe(gate.heldCount);
  expect(kept).toBeLessThan(100_000);
  gate.release();
  expect([ran, gate.heldCount, gate.heldBytes]).toEqual([kept, 0, 0]);
});

test('buckets of a histogram are cumulative', () => {
  const histogram = new LatencyHistogram();
  for (const ms of [0.1, 3, 3, 20_000]) histogram.observe(ms);
  const lines = histogram.samples('a="b"').map(([series, value]) => `x${series} ${value}`);
  expect(lines).toContain('x_bucket{a="b",le="0.00025"} 1');
  expect(lines).toContain('x_bucket{a="b",le="0.004"} 3');
  expect(lines).toContain('x_bucket{a="b",le="+Inf"} 4');
});
