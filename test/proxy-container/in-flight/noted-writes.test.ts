import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, encodePrepared } from '#core/cql/result-message.ts';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import type { ColumnFact } from '#core/model/table-facts.ts';
import { tokenOf } from '#core/token/token.ts';
import { LogReader, type OwedPlaces } from '../../../proxy-container/src/in-flight/read-log.ts';
import { decodeSegmentHeader, recordsIn } from '../../../proxy-container/src/in-flight/record-layout.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import { errorReply, type MockCluster, voidReply } from '../../support/mock-cluster.ts';

const COLUMNS: readonly ColumnFact[] = [
  { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
  { name: 'v', type: 'text', kind: 'regular', position: -1 },
  { name: 'l', type: 'list<int>', kind: 'regular', position: -1 },
];
const INSERT = 'INSERT INTO t (id, v) VALUES (?, ?)';

let folder: string;
let proxy: TestProxy;
let client: UpstreamConnection;
let insertId: Buffer;
/** What was owed on the disk when a write reached a cluster, the first first. */
const atArrival: { readonly cluster: string; readonly owed: Record<string, bigint[]> }[] = [];

/** What a process that is killed in this moment leaves. */
function owedNow(): Record<string, bigint[]> {
  const directory = join(folder, 'in-flight');
  const reader = new LogReader();
  const files = readdirSync(directory).map((name) => readFileSync(join(directory, name)));
  const segments = files.flatMap((bytes) => {
    const header = decodeSegmentHeader(bytes);
    return header ? [{ number: header.number, records: [...recordsIn(bytes, header.number)] }] : [];
  });
  for (const { number, records } of segments) for (const record of records) reader.survey(record, number);
  for (const { records } of segments) {
    reader.beginFile();
    for (const record of records) reader.collect(record);
  }
  const owed: Record<string, bigint[]> = {};
  for (const { table, tokens, isWhole } of reader.result(undefined).owed as OwedPlaces[]) {
    owed[table] = [...(owed[table] ?? []), ...tokens];
    if (isWhole) owed[`${table} as a whole`] = [];
  }
  return owed;
}

async function begin(phase: string): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-noted-'));
  atArrival.length = 0;
  const arrange = (cluster: MockCluster, name: string): void => {
    cluster.columns = COLUMNS;
    for (const opcode of [Opcode.EXECUTE, Opcode.QUERY, Opcode.BATCH]) {
      cluster.handlers.set(opcode, () => {
        atArrival.push({ cluster: name, owed: owedNow() });
        return voidReply;
      });
    }
    cluster.handlers.set(Opcode.PREPARE, ({ text }) => {
      const native = (column: string, type: 'int' | 'text') =>
        ({ keyspace: 'ks', table: 't', name: column, type: { kind: 'native', name: type } }) as const;
      const markers = [native('id', 'int'), native('v', 'text')];
      // As the mock makes it.
      const id = createHash('md5').update(`mock ${text}`).digest();
      const result = { columnCount: 0, columns: [] };
      return { opcode: Opcode.RESULT, body: encodePrepared({ id, markers, partitionKeyIndexes: [0], result }, 4) };
    });
  };
  proxy = await startTestProxy(
    { initialPhase: phase, shadowTimeoutMs: 15_000 },
    {
      journalDir: folder,
      arrange: (origin, target) => {
        arrange(origin, 'origin');
        arrange(target, 'target');
      },
    },
  );
  client = await proxy.connect();
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(INSERT, 4), 20_000);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  insertId = result.prepared.id as Buffer;
}

afterEach(async () => {
  await proxy.stop();
  rmSync(folder, { recursive: true, force: true });
});

const token = (id: number): bigint => tokenOf(encodeInt(id));
const send = (opcode: number, body: Buffer): Promise<Buffer> => client.request(opcode, 0, body, 20_000);
const insert = (id: number, value = 'x') =>
  send(Opcode.EXECUTE, encodeExecute(insertId, { values: [encodeInt(id), encodeText(value)] }, 4));
const query = (text: string) => send(Opcode.QUERY, encodeQuery(text, {}, 4));

const WRITES: Record<string, [() => Promise<Buffer>, Record<string, bigint[]>]> = {
  'a prepared statement': [() => insert(7), { t: [token(7)] }],
  'one that is too large to be copied': [() => insert(7, 'x'.repeat(20_000)), { t: [token(7)] }],
  'a text': [() => query("INSERT INTO u (id, v) VALUES (9, 'x')"), { u: [token(9)] }],
  'a text with a function': [() => query("UPDATE u SET v = 'x' WHERE id = 9 AND v = now()"), { u: [token(9)] }],
  'an append to a list': [() => query('UPDATE u SET l = l + [1] WHERE id = 3'), { u: [token(3)] }],
  'a conditional write': [() => query("UPDATE u SET v = 'x' WHERE id = 4 IF EXISTS"), { u: [token(4)] }],
  'a batch of tables': [
    () => {
      const texts = [5, 6].map((id) => ({ text: `INSERT INTO u (id) VALUES (${id})`, values: [] }));
      const prepared = { id: insertId, values: [encodeInt(1), encodeText('x')] };
      return send(Opcode.BATCH, encodeBatch(BatchKind.LOGGED, [...texts, prepared], {}, 4));
    },
    { u: [token(5), token(6)], t: [token(1)] },
  ],
};

test.each(['dual-async', 'dual-sync', 'target-primary'])(
  'in %s every write is on the disk when a cluster gets it, and settled when both have it',
  async (phase) => {
    await begin(phase);
    // The types of tables are known from the second write on.
    await query('DELETE FROM u WHERE id = 1');
    await eventually(() => expect(owedNow()).toEqual({}));
    for (const [what, [write, places]] of Object.entries(WRITES)) {
      atArrival.length = 0;
      await write();
      expect(atArrival[0]?.owed, what).toEqual(places);
      await eventually(() => expect(owedNow(), what).toEqual({}));
    }
  },
);

test('what the primary refuses is owed by nobody', async () => {
  await begin('dual-async');
  for (const opcode of [Opcode.EXECUTE, Opcode.QUERY, Opcode.BATCH]) {
    proxy.origin.handlers.set(opcode, () => errorReply(ErrorCode.INVALID));
  }
  for (const [what, [write]] of Object.entries(WRITES)) {
    await write();
    await eventually(() => expect(owedNow(), what).toEqual({}));
  }
  expect(proxy.target.seen).toEqual([]);
});

test('what fails on the shadow is owed until the journal has it', async () => {
  await begin('dual-async');
  proxy.queue.isAway = true;
  for (const opcode of [Opcode.EXECUTE, Opcode.QUERY, Opcode.BATCH]) {
    proxy.target.handlers.set(opcode, () => errorReply(ErrorCode.OVERLOADED));
  }
  for (const [what, [write]] of Object.entries(WRITES)) {
    await write();
    await eventually(() => expect(owedNow(), what).toEqual({}));
  }
  const { failedWrites } = proxy.proxy.status();
  expect(failedWrites.journalMessages + failedWrites.suspectMarks).toBeGreaterThanOrEqual(
    Object.keys(WRITES).length - 1,
  );
});

test('a copy that hangs is owed as long as it does', async () => {
  await begin('dual-async');
  let hang = true;
  proxy.target.handlers.set(Opcode.EXECUTE, () => (hang ? undefined : voidReply));
  await insert(7);
  await eventually(() => expect(owedNow()).toEqual({ t: [token(7)] }));
  hang = false;
  await insert(8);
  expect(owedNow()).toEqual({ t: [token(7), token(8)] });
  proxy.target.disconnect();
  // Lost: the journal has it.
  await eventually(() => expect(owedNow()).toEqual({}));
});

test('in a phase without a shadow nothing is noted', async () => {
  await begin('origin-only');
  for (const [write] of Object.values(WRITES)) await write();
  expect(atArrival.map(({ owed }) => owed)).toEqual(atArrival.map(() => ({})));
  expect(proxy.target.seen).toEqual([]);
});
