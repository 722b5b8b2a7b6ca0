import { afterEach, beforeEach, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeBatchTail, encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

/** An instance whose disk ends with it: the ledger must know of a table before its first write leaves. */
const INSERT = 'INSERT INTO ks.t (id, v) VALUES (?, ?)';
const LITERAL = "INSERT INTO ks.t (id, v) VALUES (1, 'x')";
const VALUES = [Buffer.from([0, 0, 0, 1]), Buffer.from('x')];
const TIMEOUT_MS = 20_000;

let parts: TestProxy;
let client: UpstreamConnection;
let isSlow: boolean;
let release: () => void;
let answers: Promise<void>;

beforeEach(async () => {
  isSlow = false;
  answers = new Promise((resolve) => {
    release = resolve;
  });
  const store = createMemoryLedgerStore();
  const ledger = createLedger({
    ...store,
    put: async (...what) => {
      if (isSlow && what[0].startsWith('proxies/')) await answers;
      return store.put(...what);
    },
  });
  parts = await startTestProxy({ initialPhase: 'dual-async' }, { ledger, storage: 'ephemeral' });
  client = await parts.connect();
  isSlow = true;
});

afterEach(async () => {
  release();
  await parts.stop();
});

const held = (): number => parts.proxy.status().held;
const sentTexts = (): string[] =>
  parts.origin.seen.map(({ text }) => text).filter((text) => /INSERT|TRUNCATE/.test(text));
const request = (opcode: number, body: Buffer): Promise<Buffer> => client.request(opcode, 0, body, TIMEOUT_MS);
const told = async (): Promise<readonly string[] | undefined> => (await parts.ledger.readProxy('unit'))?.record.tables;

/** One statement as text, without values. */
function batchOf(text: string): Buffer {
  const statement = new BodyWriter().byte(BatchKind.LOGGED).short(1).byte(0).longString(text).short(0);
  return Buffer.concat([statement.toBuffer(), encodeBatchTail({}, 4)]);
}

const ways: [string, () => Promise<Buffer>][] = [
  ['what prepares it', () => request(Opcode.PREPARE, encodePrepare(INSERT, 4))],
  ['a text', () => request(Opcode.QUERY, encodeQuery(LITERAL, {}, 4))],
  ['a batch', () => request(Opcode.BATCH, batchOf(LITERAL))],
  ['a TRUNCATE', () => request(Opcode.QUERY, encodeQuery('TRUNCATE ks.t', {}, 4))],
];

test.each(ways)('%s leaves when the ledger knows the table, and not before', async (_, send) => {
  const reply = send();
  await eventually(() => expect(held()).toBe(1));
  expect([sentTexts(), await told()]).toEqual([[], []]);
  release();
  expect(opcodeOf(await reply)).toBe(Opcode.RESULT);
  expect([held(), sentTexts().length, await told()]).toEqual([0, 1, ['ks.t']]);
});

test('what a client prepared with another process waits when it is executed here, also while it is prepared again', async () => {
  parts.proxy.prepared.learn([{ text: INSERT, keyspace: 'ks' }]);
  const { id } = parts.proxy.prepared.entryOf(INSERT, 'ks');
  const execute = () => request(Opcode.EXECUTE, encodeExecute(id, { values: VALUES }, 4));
  const replies = [execute(), request(Opcode.PREPARE, encodePrepare(INSERT, 4)), execute()];
  await eventually(() => expect(held()).toBe(3));
  expect([sentTexts(), await told()]).toEqual([[], []]);
  release();
  for (const reply of await Promise.all(replies)) expect(opcodeOf(reply)).toBe(Opcode.RESULT);
  isSlow = false;
  for (let round = 0; round < 3; round++) expect(opcodeOf(await execute())).toBe(Opcode.RESULT);
  expect(await told()).toEqual(['ks.t']);
});

test('a request whose client has gone is not sent any more', async () => {
  void request(Opcode.QUERY, encodeQuery(LITERAL, {}, 4)).catch(() => undefined);
  await eventually(() => expect(held()).toBe(1));
  client.close();
  await eventually(() => expect(held()).toBe(0));
  release();
  await eventually(async () => expect(await told()).toEqual(['ks.t']));
  expect(sentTexts()).toEqual([]);
});

test('a proxy that stops refuses what waits: it was not applied, and may be sent elsewhere', async () => {
  const reply = request(Opcode.QUERY, encodeQuery(LITERAL, {}, 4));
  await eventually(() => expect(held()).toBe(1));
  const stopping = parts.proxy.stop();
  const answer = await reply;
  expect([opcodeOf(answer), decodeError(bodyOf(answer), 4).code]).toEqual([Opcode.ERROR, ErrorCode.OVERLOADED]);
  release();
  await stopping;
  expect(sentTexts()).toEqual([]);
});

test('reads wait for nothing', async () => {
  const reply = await request(Opcode.QUERY, encodeQuery('SELECT v FROM ks.t', {}, 4));
  expect([opcodeOf(reply), held(), await told()]).toEqual([Opcode.RESULT, 0, []]);
});
