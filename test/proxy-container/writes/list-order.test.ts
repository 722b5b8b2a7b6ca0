import { afterEach, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { opcodeOf } from '#core/cql/frame.ts';
import { encodeRegister } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { encodeSchemaChangeEvent } from '#core/cql/schema-change.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { ListOrder } from '../../../proxy-container/src/writes/list-order.ts';
import type { ListPlace } from '../../../proxy-container/src/writes/list-place.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { type MockCluster, voidReply } from '../../support/mock-cluster.ts';

const place = (row: string | undefined, more: Partial<ListPlace> = {}): ListPlace => ({
  table: 't',
  row,
  isList: true,
  isAppend: true,
  ...more,
});

/** Takes turns by name; returns what has run and what was skipped. */
function turns() {
  const order = new ListOrder();
  const seen: string[] = [];
  const take = (name: string, at: ListPlace): void =>
    order.take(at, { run: () => seen.push(name), skip: () => seen.push(`not ${name}`) });
  const done = async (...given: Parameters<ListOrder['done']>): Promise<void> => {
    order.done(...given);
    await Promise.resolve();
  };
  return { seen, take, done };
}

test('one for each row runs at a time, in the order in which they came', async () => {
  const { seen, take, done } = turns();
  for (const name of ['a1', 'b1', 'a2', 'a3', 'b2']) take(name, place(name[0]));
  expect(seen).toEqual(['a1', 'b1']);
  await done(place('a'), 'next');
  expect(seen).toEqual(['a1', 'b1', 'a2']);
  await done(place('b'), 'next');
  await done(place('a'), 'next');
  expect(seen).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
});

test('one that may be of any row waits for all before it, and all behind it wait for it', async () => {
  const { seen, take, done } = turns();
  take('a1', place('a'));
  take('b1', place('b'));
  take('any', place(undefined));
  take('b2', place('b'));
  take('a2', place('a'));
  take('of another table', place('a', { table: 'u' }));
  expect(seen).toEqual(['a1', 'b1', 'of another table']);
  await done(place('b'), 'next');
  expect(seen).not.toContain('any');
  await done(place('a'), 'next');
  expect(seen.at(-1)).toBe('any');
  await done(place(undefined), 'next');
  expect(seen.slice(-2)).toEqual(['b2', 'a2']);
});

test('behind one that failed appends are skipped up to the next list that is written as a whole', async () => {
  const { seen, take, done } = turns();
  for (const name of ['1', '2', '3']) take(name, place('a'));
  take('whole', place('a', { isAppend: false }));
  take('4', place('a'));
  await done(place('a'), 'skip');
  expect(seen).toEqual(['1', 'not 2', 'not 3', 'whole']);
  await done(place('a'), 'next');
  expect(seen.at(-1)).toBe('4');
});

test('of lists that are written as a whole behind one that failed, the last one alone is waited for', async () => {
  const { seen, take, done } = turns();
  take('1', place('a'));
  for (const name of ['2', '3', '4']) take(name, place('a', { isAppend: false }));
  take('5', place('a'));
  take('other', place('b'));
  await done(place('a'), 'skip');
  expect(seen).toEqual(['1', 'other', 'not 2', 'not 3', '4']);
  await done(place('a', { isAppend: false }), 'next');
  expect(seen.at(-1)).toBe('5');
});

test('behind a failed one of any row nothing of its table is waited for', async () => {
  const { seen, take, done } = turns();
  const any = place(undefined, { isList: false });
  take('any 1', any);
  take('a1', place('a'));
  take('any 2', any);
  take('a2', place('a', { isAppend: false }));
  take('of another table', place('a', { table: 'u' }));
  await done(any, 'skip');
  expect(seen).toEqual(['any 1', 'of another table', 'not a1', 'not any 2', 'not a2']);
  take('any 3', any);
  expect(seen.at(-1)).toBe('any 3');
});

test('behind one whose end is not known all run at once', async () => {
  const { seen, take, done } = turns();
  for (const name of ['1', '2', '3']) take(name, place('a'));
  await done(place('a'), 'release');
  expect(seen).toEqual(['1', '2', '3']);
});

let parts: TestProxy | undefined;
let client: UpstreamConnection;
afterEach(async () => {
  await parts?.stop();
  parts = undefined;
});

async function begin(shadowTimeoutMs: number, more: object = {}): Promise<TestProxy> {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs, ...more });
  for (const cluster of [parts.origin, parts.target]) {
    cluster.columns = [
      { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
      { name: 'l', type: 'list<int>', kind: 'regular', position: -1 },
    ];
  }
  client = await parts.connect();
  return parts;
}

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const append = (id: number, element: number): string => `UPDATE t SET l = l + [${element}] WHERE id = ${id}`;
const whole = (id: number, element: number): string => `INSERT INTO t (id, l) VALUES (${id}, [${element}])`;

/** The proxy then knows the types of the table. */
async function learnTypes({ proxy, target }: TestProxy): Promise<void> {
  await query(append(0, 0));
  await eventually(() => expect(target.seen).toHaveLength(1));
  await eventually(() => expect(proxy.status().counters['shadowInFlight']).toBe(0));
  target.seen.length = 0;
}

test('a list that is written as a whole keeps its turn among the appends, and does not depend on those before', async () => {
  const started = await begin(2000);
  await learnTypes(started);
  const { target, queue } = started;
  target.handlers.set(Opcode.QUERY, ({ text }) => (text === whole(1, 1) ? undefined : voidReply));
  const behind = ['UPDATE t SET l = [3] WHERE id = 1', append(1, 4)];
  for (const text of [whole(1, 1), append(1, 2), ...behind, 'DELETE l FROM t WHERE id = 1', whole(2, 1)]) {
    await query(text);
  }
  // A deletion has its place by its time; the other row waits for nothing.
  const atOnce = [whole(1, 1), 'DELETE l FROM t WHERE id = 1', whole(2, 1)];
  await eventually(() => expect(target.texts(Opcode.QUERY)).toEqual([...atOnce, ...behind]));
  await eventually(() => expect(queue.writes).toHaveLength(2));
  const texts = queue.writes.map(({ statements }) => statements[0]?.text);
  expect(texts.sort()).toEqual([whole(1, 1), append(1, 2)].sort());
});

test('where the types of a table are not known its writes keep their turns as well, and behind one that failed they are kept for replay', async () => {
  const { origin, target, queue } = await begin(2000);
  for (const cluster of [origin, target]) cluster.columns = [];
  target.handlers.set(Opcode.QUERY, ({ text }) => (text === whole(1, 1) ? undefined : voidReply));
  await query(whole(1, 1));
  await query(append(1, 2));
  await query('INSERT INTO t (id) VALUES (1)');
  const texts = [whole(1, 1), 'INSERT INTO t (id) VALUES (1)'];
  await eventually(() => expect(target.texts(Opcode.QUERY)).toEqual(texts));
  await eventually(() => expect(queue.messages).toHaveLength(0));
});

test('an append that the primary does not answer holds back no other one for longer than itself', async () => {
  const started = await begin(15_000);
  await learnTypes(started);
  started.origin.handlers.set(Opcode.QUERY, ({ text }) => (text === append(1, 1) ? undefined : voidReply));
  const answers = await Promise.all([1, 2, 3, 4].map((element) => query(append(1, element))));
  expect(answers.map(opcodeOf)).toEqual([Opcode.ERROR, Opcode.RESULT, Opcode.RESULT, Opcode.RESULT]);
  await eventually(async () => expect((await started.ledger.readTable('ks', 't'))?.state).toBe('suspect'));
});

test('a batch of several lists of a table waits for those before it, and those behind it wait for it', async () => {
  const started = await begin(15_000);
  await learnTypes(started);
  const { target } = started;
  target.kept = [];
  await query(append(1, 1));
  await query(append(3, 1));
  await client.request(
    Opcode.BATCH,
    0,
    encodeBatch(
      1,
      [append(1, 2), append(2, 1)].map((text) => ({ text, values: [] })),
      {},
      4,
    ),
    20_000,
  );
  await query(append(2, 2));
  await eventually(() => expect(target.texts(Opcode.QUERY)).toEqual([append(1, 1), append(3, 1)]));
  const { kept } = target;
  target.kept = undefined;
  for (const answer of kept) answer();
  await eventually(() => expect(target.texts(Opcode.QUERY)).toEqual([append(1, 1), append(3, 1), append(2, 2)]));
  expect(target.seen.map(({ text }) => text)).toEqual([append(1, 1), append(3, 1), append(1, 2), append(2, 2)]);
});

test('in dual-sync appends keep their turns also while a table that has changed is looked at again', async () => {
  const { origin } = await begin(15_000, { initialPhase: 'dual-sync' });
  await query(append(1, 0));
  await eventually(async () => {
    // With the types known the second of two waits for the first.
    origin.kept = [];
    origin.seen.length = 0;
    const two = [query(append(1, 1)), query(append(1, 2))];
    await eventually(() => expect(origin.kept?.length).toBeGreaterThan(0));
    const count = origin.seen.length;
    release(origin);
    await Promise.all(two);
    expect(count).toBe(1);
  });
  const heard = Promise.withResolvers<Buffer>();
  client.onEvent = heard.resolve;
  await client.request(Opcode.REGISTER, 0, encodeRegister(['SCHEMA_CHANGE']), 20_000);
  origin.event(encodeSchemaChangeEvent({ change: 'UPDATED', target: 'TABLE', keyspace: 'ks', name: 'other' }, 4));
  await heard.promise;
  origin.kept = [];
  origin.seen.length = 0;
  const behind = [query(append(1, 3)), query(append(1, 4))];
  await eventually(() => expect(origin.texts(Opcode.QUERY)).toEqual([append(1, 3)]));
  // Another one of the client, so that the second append has been looked at.
  const read = query('SELECT * FROM t');
  await eventually(() => expect(origin.texts(Opcode.QUERY)).toContain('SELECT * FROM t'));
  expect(origin.texts(Opcode.QUERY)).not.toContain(append(1, 4));
  release(origin);
  await Promise.all([...behind, read]);
  expect(origin.texts(Opcode.QUERY)).toContain(append(1, 4));
});

function release(cluster: MockCluster): void {
  const { kept } = cluster;
  cluster.kept = undefined;
  for (const answer of kept ?? []) answer();
}

test('in lenient dual-sync a shadow that hangs is not waited for once for each append to a list', async () => {
  const { origin, target } = await begin(5000, { initialPhase: 'dual-sync', dualSync: 'lenient' });
  await query(append(1, 0));
  await eventually(() => expect(origin.texts(Opcode.QUERY)).toHaveLength(1));
  let answeredCount = 0;
  const answeredBefore: number[] = [];
  target.handlers.set(Opcode.QUERY, () => {
    answeredBefore.push(answeredCount);
    return undefined;
  });
  const replies = [1, 2, 3, 4].map(async (element) => {
    expect(opcodeOf(await query(append(1, element)))).toBe(Opcode.RESULT);
    answeredCount++;
  });
  await Promise.all(replies);
  expect(answeredBefore).toEqual([0, 1, 1, 1]);
});
