import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, encodePrepared } from '#core/cql/result-message.ts';
import { RetryBudget } from '../../../proxy-container/src/reads/idempotent-call.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, MockCluster, type MockReply, voidReply } from '../../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;
/** By which node each request was seen, in order. */
let asked: MockCluster[];

/** Two nodes; `answer` is given how many requests there were before. */
async function begin(answer: (node: MockCluster, before: number) => MockReply | undefined, opcode: number) {
  const second = new MockCluster();
  parts = await startTestProxy({}, { secondOriginNode: second, originConfig: { requestTimeoutMs: 20_000 } });
  client = await parts.connect();
  asked = [];
  for (const node of [parts.origin, second]) {
    node.handlers.set(opcode, () => {
      asked.push(node);
      return answer(node, asked.length - 1);
    });
  }
}

afterEach(() => parts?.stop());

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
const codeOf = (reply: Buffer): number => decodeError(bodyOf(reply), 4).code;
const NO_COLUMNS = { columnCount: 0, columns: [] };
const READ = 'SELECT v FROM t WHERE id = 1';

test.each(['OVERLOADED', 'UNAVAILABLE', 'IS_BOOTSTRAPPING', 'SERVER_ERROR'] as const)(
  'a read that one node answers with %s is answered by another',
  async (name) => {
    await begin((_, before) => (before === 0 ? errorReply(ErrorCode[name]) : voidReply), Opcode.QUERY);
    expect(opcodeOf(await query(READ))).toBe(Opcode.RESULT);
    expect(asked).toHaveLength(2);
    expect(asked[1]).not.toBe(asked[0]);
    expect(parts.proxy.status().counters['reads']).toBe(1);
  },
);

test.each(['READ_TIMEOUT', 'READ_FAILURE', 'INVALID', 'UNAUTHORIZED'] as const)('%s is passed on', async (name) => {
  await begin(() => errorReply(ErrorCode[name]), Opcode.QUERY);
  expect(codeOf(await query(READ))).toBe(ErrorCode[name]);
  expect(asked).toHaveLength(1);
});

test('an error of all nodes is told as the nodes gave it', async () => {
  await begin(() => errorReply(ErrorCode.UNAVAILABLE, 'too few replicas'), Opcode.QUERY);
  expect(codeOf(await query(READ))).toBe(ErrorCode.UNAVAILABLE);
  expect(asked).toHaveLength(2);
});

test('the error of the first node is told when no other can be reached', async () => {
  await begin(() => errorReply(ErrorCode.OVERLOADED, 'the only one'), Opcode.QUERY);
  // The node that is not connected goes away.
  await query(READ);
  const [first, other] = asked as [MockCluster, MockCluster];
  await other.close();
  asked = [];
  await eventually(async () => {
    asked = [];
    expect(decodeError(bodyOf(await query(READ)), 4).message).toBe('the only one');
    expect(asked).toEqual([first]);
  });
});

test('a read whose connection is lost is answered by another node', async () => {
  await begin((node, before) => {
    if (before > 0) return voidReply;
    node.disconnect();
    return undefined;
  }, Opcode.QUERY);
  expect(opcodeOf(await query(READ))).toBe(Opcode.RESULT);
  expect(asked[1]).not.toBe(asked[0]);
});

test('a prepared read is prepared on the other node, and answered by it', async () => {
  await begin((_, before) => (before === 0 ? errorReply(ErrorCode.OVERLOADED) : voidReply), Opcode.EXECUTE);
  const prepared = await client.request(Opcode.PREPARE, 0, encodePrepare('SELECT v FROM t WHERE id = ?', 4), 20_000);
  const result = decodeResult(bodyOf(prepared), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  const frame = encodeExecute(result.prepared.id, { values: [Buffer.from([0, 0, 0, 1])] }, 4);
  expect(opcodeOf(await client.request(Opcode.EXECUTE, 0, frame, 20_000))).toBe(Opcode.RESULT);
  expect(asked[1]).not.toBe(asked[0]);
});

test('a PREPARE whose connection is lost is answered by another node', async () => {
  let isFirst = true;
  const prepared: MockReply = {
    opcode: Opcode.RESULT,
    body: encodePrepared({ id: Buffer.from('an id'), markers: [], partitionKeyIndexes: [], result: NO_COLUMNS }, 4),
  };
  await begin((node) => {
    if (!isFirst) return prepared;
    isFirst = false;
    node.disconnect();
    return undefined;
  }, Opcode.PREPARE);
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(READ, 4), 20_000);
  expect(decodeResult(bodyOf(reply), 4).kind).toBe('prepared');
  expect(asked[1]).not.toBe(asked[0]);
});

test.each([
  ["INSERT INTO t (id, v) VALUES (1, 'x')", ErrorCode.OVERLOADED],
  ["UPDATE t SET v = 'x' WHERE id = 1 IF v = 'y'", ErrorCode.UNAVAILABLE],
  ['UPDATE c SET n = n + 1 WHERE id = 1', ErrorCode.SERVER_ERROR],
])('%s is never sent twice', async (text, code) => {
  await begin(() => errorReply(code), Opcode.QUERY);
  expect(codeOf(await query(text))).toBe(code);
  expect(asked).toHaveLength(1);
});

test('a write whose connection is lost is told as a write time-out, and not sent again', async () => {
  await begin((node) => {
    node.disconnect();
    return undefined;
  }, Opcode.QUERY);
  expect(codeOf(await query("INSERT INTO t (id, v) VALUES (1, 'x')"))).toBe(ErrorCode.WRITE_TIMEOUT);
  expect(asked).toHaveLength(1);
});

test('of many refused reads one of ten is asked elsewhere in the long run', () => {
  const budget = new RetryBudget();
  let spent = 0;
  for (let index = 0; index < 10_000; index++) {
    budget.earn();
    if (budget.spend()) spent++;
  }
  expect(spent).toBeGreaterThan(1000);
  expect(spent).toBeLessThan(1200);
});
