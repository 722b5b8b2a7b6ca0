import { createHash } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { proposePhase, withdrawProposal } from '#core/ledger/phase-change.ts';
import type { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy, type TestProxyOptions } from '../support/in-process-proxy.ts';

let parts: TestProxy;
let client: UpstreamConnection;
let neighbour: UpstreamConnection;
const ONE = Buffer.from([0, 0, 0, 1]);
const INSERT = 'INSERT INTO t (id) VALUES (1)';

async function begin(version = 4, proxyConfig: object = {}, options: TestProxyOptions = {}): Promise<void> {
  parts = await startTestProxy(proxyConfig, { maxVersion: version >= 5 ? 5 : 4, ...options });
  client = await parts.connect(version);
  neighbour = await parts.connect();
}

afterEach(() => parts.stop());

/** A neighbour is served on the same upstream connections, every request is over, and no connection was given up. */
async function expectUnharmed(): Promise<void> {
  const reply = await neighbour.request(Opcode.QUERY, 0, encodeQuery('SELECT * FROM t', {}, 4), 20_000);
  expect(opcodeOf(reply)).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.proxy.status().inFlight).toBe(0));
  expect(parts.proxy.status().counters['requestTimeouts']).toBe(0);
}

const query = (text: string, version = 4) => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, version), 20_000);
const errorOf = (reply: Buffer, version = 4) => decodeError(bodyOf(reply), version);

test.each(['[json]', 'count', 'rpc_address', 'tokens'])('an alias %s in system.local is answered', async (alias) => {
  await begin();
  expect(opcodeOf(await query(`SELECT release_version AS "${alias}" FROM system.local`))).toBe(Opcode.RESULT);
  await expectUnharmed();
});

test.each([3, 4, 5])('v%i: an EXECUTE that foresees its id, ahead of PREPARED, is answered', async (version) => {
  await begin(version);
  const text = 'INSERT INTO t (id, at) VALUES (?, now())';
  const id = createHash('md5').update(`ks${text}`).digest();
  const named = encodeExecute(id, { values: [ONE], names: ['id'] }, version);
  const [prepared, executed] = await Promise.all([
    client.request(Opcode.PREPARE, 0, encodePrepare(text, version), 20_000),
    client.request(Opcode.EXECUTE, 0, named, 20_000),
  ]);
  expect(opcodeOf(prepared)).toBe(Opcode.RESULT);
  expect(errorOf(executed, version).code).toBe(ErrorCode.INVALID);
  const plain = encodeExecute(id, { values: [ONE] }, version);
  expect(opcodeOf(await client.request(Opcode.EXECUTE, 0, plain, 20_000))).toBe(Opcode.RESULT);
  await expectUnharmed();
});

test('an EXECUTE while the cluster is away is answered, and those after it too', async () => {
  await begin();
  const text = 'INSERT INTO t (id, at) VALUES (?, now())';
  await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000);
  const id = createHash('md5').update(`ks${text}`).digest();
  parts.origin.disconnect();
  const named = encodeExecute(id, { values: [ONE], names: ['id'] }, 4);
  const reply = await client.request(Opcode.EXECUTE, 0, named, 20_000);
  expect(opcodeOf(reply)).toBe(Opcode.ERROR);
  await eventually(expectUnharmed);
});

test('values that are counted wrongly, or longer than the frame, end that connection alone', async () => {
  await begin();
  const id = createHash('md5').update(`ks${INSERT}`).digest();
  await client.request(Opcode.PREPARE, 0, encodePrepare(INSERT, 4), 20_000);
  const bodies = [
    // 65,535 named values announced, none there.
    new BodyWriter().shortBytes(id).short(1).byte(0x41).short(0xffff),
    // A value of 2 GiB.
    new BodyWriter().shortBytes(id).short(1).byte(0x01).short(1).int(0x7fffffff),
    // A paging state of 2 GiB.
    new BodyWriter().longString('SELECT * FROM t').short(1).byte(0x08).int(0x7fffffff),
    // A text of 2 GiB.
    new BodyWriter().int(0x7fffffff),
  ];
  for (const [index, body] of bodies.entries()) {
    const one = await parts.connect();
    const opcode = index < 2 ? Opcode.EXECUTE : Opcode.QUERY;
    const reply = await one.request(opcode, 0, body.toBuffer(), 20_000);
    expect(errorOf(reply).code).toBe(ErrorCode.PROTOCOL_ERROR);
  }
  await expectUnharmed();
});

test('a value length of -3 is the server’s to refuse and does no harm', async () => {
  await begin(4, { initialPhase: 'dual-async' });
  const body = new BodyWriter().longString('INSERT INTO t (id) VALUES (?)').short(1).byte(0x01).short(1).int(-3);
  await client.request(Opcode.QUERY, 0, body.toBuffer(), 20_000);
  await expectUnharmed();
});

test('a text of millions of brackets is refused with the reason, also inside a batch', async () => {
  await begin();
  const text = '('.repeat(4 * 1024 * 1024);
  expect(errorOf(await query(text))).toMatchObject({
    code: ErrorCode.INVALID,
    message: expect.stringMatching(/too (large|long)/),
  });
  const prepared = await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000);
  expect(errorOf(prepared).code).toBe(ErrorCode.INVALID);
  const writer = new BodyWriter().byte(1).short(50);
  for (let index = 0; index < 50; index++) writer.byte(0).longString('('.repeat(100_000)).short(0);
  const batch = await client.request(Opcode.BATCH, 0, writer.short(1).byte(0).toBuffer(), 20_000);
  expect(errorOf(batch).code).toBe(ErrorCode.INVALID);
  await expectUnharmed();
});

test('a cluster’s answer that can not be read costs its request an error, and no other anything', async () => {
  await begin();
  const broken = { opcode: Opcode.RESULT, body: Buffer.from([0, 0, 0, 4, 0, 200]) };
  parts.origin.handlers.set(Opcode.PREPARE, () => broken);
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(INSERT, 4), 20_000);
  expect(errorOf(reply).code).toBe(ErrorCode.SERVER_ERROR);
  expect(parts.proxy.status().counters['internalErrors']).toBe(1);
  await expectUnharmed();
});

test('USE of names without end leaves no connections behind, and says what the cluster says', async () => {
  await begin();
  let refused = 0;
  parts.origin.refusesKeyspace = (name) => {
    const isRefused = name.startsWith('none');
    if (isRefused) refused++;
    return isRefused;
  };
  for (let index = 0; index < 40; index++) {
    expect(errorOf(await query(`USE none_${index}`)).code).toBe(ErrorCode.INVALID);
  }
  expect(opcodeOf(await query(`USE "${'x'.repeat(70_000)}"`))).toBe(Opcode.ERROR);
  // Nobody goes on trying what was refused.
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(refused).toBe(40);
  for (let index = 0; index < 50; index++) expect(opcodeOf(await query(`USE some_${index}`))).toBe(Opcode.RESULT);
  expect(parts.proxy.status().clusters[0]!.connections).toBeLessThan(70);
  client.close();
  await eventually(() => expect(parts.proxy.status().clients).toBe(1));
  await expectUnharmed();
});

test('5,000 requests while a change is under way are all answered: applied, or refused where there is no room', async () => {
  await begin(4, { initialPhase: 'dual-sync' });
  const frame = encodeFrame(
    { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY },
    encodeQuery(INSERT, {}, 4),
  );
  const codes: number[] = [];
  let lost = 0;
  const handler = {
    onReply: (reply: Buffer) => codes.push(opcodeOf(reply) === Opcode.RESULT ? 0 : errorOf(reply).code),
    onLost: () => {
      lost++;
    },
  };
  // A connection has 4096 stream ids here.
  const proposed = { by: 'test', why: 'test', now: new Date() };
  await parts.ledger.changePhase((record) => proposePhase(record, 'target-primary', proposed));
  await eventually(() => expect(parts.proxy.status().isHolding).toBe(true));
  for (const one of [client, neighbour]) for (let n = 0; n < 2600; n++) one.send(frame, handler, 60_000);
  await eventually(() => expect(parts.proxy.status().held).toBe(5200));
  await parts.ledger.changePhase(withdrawProposal);
  await eventually(() => expect(codes).toHaveLength(5200));
  expect(lost).toBe(0);
  // All of them at once are more than the connections to the cluster have stream ids for.
  expect(codes.filter((code) => code !== 0 && code !== ErrorCode.OVERLOADED)).toEqual([]);
  expect(codes.filter((code) => code === 0).length).toBeGreaterThan(1000);
  await eventually(() => expect(parts.proxy.status()).toMatchObject({ inFlight: 0, held: 0 }));
});

async function hold(requestTimeoutMs = 15_000): Promise<void> {
  const cluster = { requestTimeoutMs };
  await begin(4, { initialPhase: 'dual-sync' }, { originConfig: cluster, targetConfig: cluster });
  const proposed = { by: 'test', why: 'test', now: new Date() };
  await parts.ledger.changePhase((record) => proposePhase(record, 'target-primary', proposed));
  await eventually(() => expect(parts.proxy.status().isHolding).toBe(true));
}

test('what a client that has gone left waiting is never applied', async () => {
  await hold();
  query(INSERT).catch(() => undefined);
  await eventually(() => expect(parts.proxy.status().held).toBe(1));
  client.close();
  await eventually(() => expect(parts.proxy.status().held).toBe(0));
  await parts.ledger.changePhase(withdrawProposal);
  await expectUnharmed();
  expect(parts.origin.texts(Opcode.QUERY)).not.toContain(INSERT);
});

test('what waited behind a request that ends its connection is never applied', async () => {
  await hold();
  const unsupported = client.request(0x2f, 0, Buffer.alloc(0), 20_000);
  query(INSERT).catch(() => undefined);
  await eventually(() => expect(parts.proxy.status().held).toBe(2));
  await parts.ledger.changePhase(withdrawProposal);
  expect(errorOf(await unsupported).code).toBe(ErrorCode.PROTOCOL_ERROR);
  await expectUnharmed();
  expect(parts.proxy.status().held).toBe(0);
  expect(parts.origin.texts(Opcode.QUERY)).not.toContain(INSERT);
});

test('a proxy that stops while it holds requests answers them first', async () => {
  await hold();
  const waiting = query(INSERT);
  await eventually(() => expect(parts.proxy.status().held).toBe(1));
  await Promise.all([
    parts.proxy.stop(),
    waiting.then((reply) => expect(errorOf(reply).code).toBe(ErrorCode.OVERLOADED)),
  ]);
});

test('a request that waited too long is refused once and forgotten', async () => {
  await hold(1000);
  expect(errorOf(await query(INSERT)).code).toBe(ErrorCode.OVERLOADED);
  expect(parts.proxy.status().held).toBe(0);
});
