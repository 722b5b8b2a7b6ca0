import { beforeEach, expect, test } from 'vitest';
import { decodeBigint, decodeList, encodeBigint, encodeInt, encodeList, encodeText } from '#core/cql/value-codec.ts';
import type { CopyOptions } from '#core/jobs/copy-places.ts';
import { type ReplayPorts, replayMessages } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { BoundValue, ResultPage } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { decodeMessage } from '#core/model/message.ts';
import type { BatchEntry, CqlSession } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { CLOSED_BREAKER, delivered, messageOf } from '../../support/messages.ts';

const NOW_MS = 1_800_000_000_000;
const at = (ms: number): bigint => BigInt(NOW_MS + ms) * 1000n;

/** One row with a non-frozen list: elements have write times and keys of their own, so that sending twice doubles them. */
class ListCluster implements CqlSession {
  readonly protocolVersion = 4;
  #cells: { at: bigint; element: string }[] = [];
  #deletedAt = 0n;
  defaultTtl = 0;
  cell: { value: string; at: bigint } | undefined;
  onBatch: () => void = () => undefined;

  append(element: string, atMicros: bigint): void {
    this.#cells.push({ at: atMicros, element });
  }

  get list(): string[] {
    return this.#cells.filter((one) => one.at > this.#deletedAt).map(({ element }) => element);
  }

  async query(text: string): Promise<ResultPage> {
    if (text.includes('system_schema.tables')) {
      return { columns: [], rows: [[encodeInt(this.defaultTtl), encodeInt(864_000)]] };
    }
    if (text.includes('system_schema.types') || text.includes('dropped')) return { columns: [], rows: [] };
    if (text.includes('system_schema')) {
      const column = (name: string, type: string, kind: string, position: number) => [
        encodeText(name),
        encodeText(kind),
        encodeInt(position),
        encodeText('none'),
        encodeText(type),
      ];
      const rows = [column('id', 'int', 'partition_key', 0), column('l', 'list<text>', 'regular', -1)];
      return { columns: [], rows: [...rows, column('v', 'text', 'regular', -1)] };
    }
    const list = this.list.length > 0 ? encodeList(this.list.map(encodeText)) : null;
    const cells = this.cell ? [encodeText(this.cell.value), encodeBigint(this.cell.at), null] : [null, null, null];
    if (text.startsWith('SELECT v, writetime(v), ttl(v), l FROM ks.t'))
      return { columns: [], rows: [[...cells, list]] };
    if (text.startsWith('SELECT l FROM ks.t')) return { columns: [], rows: [[list]] };
    throw new Error(text);
  }

  async batch(_kind: string, entries: readonly BatchEntry[]): Promise<void> {
    for (const { statement, values } of entries) this.#apply(String(statement), values);
    this.onBatch();
  }

  #apply(text: string, values: readonly BoundValue[]): void {
    const micros = (index: number): bigint => decodeBigint(values[index] as Uint8Array);
    if (text.startsWith('UPDATE ks.t USING TIMESTAMP ? SET l = ?')) {
      if (micros(0) - 1n > this.#deletedAt) this.#deletedAt = micros(0) - 1n;
      for (const one of decodeList(values[1] as Uint8Array)) this.append(Buffer.from(one).toString(), micros(0));
    } else if (text.startsWith('INSERT INTO ks.t (id, v) VALUES')) {
      this.cell = { value: Buffer.from(values.at(-3) as Uint8Array).toString(), at: micros(values.length - 2) };
    } else throw new Error(text);
  }

  prepare(): never {
    throw new Error('nothing is prepared');
  }

  execute(): never {
    throw new Error('nothing is executed');
  }

  async close(): Promise<void> {}
}

/** Nothing is copied here. */
const NO_COPIES = {} as CopyOptions;

let origin: ListCluster;
let target: ListCluster;
let ports: ReplayPorts;
let afterSleep: () => void;

beforeEach(() => {
  origin = new ListCluster();
  target = new ListCluster();
  afterSleep = () => undefined;
  ports = {
    breaker: CLOSED_BREAKER,
    openSession: async (cluster) => (cluster === 'origin' ? origin : target),
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => NOW_MS },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async () => afterSleep(),
  };
});

function failed(change: Partial<FailedWrite> = {}): FailedWrite {
  return {
    expiresAtSeconds: null,
    id: 'w1',
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't' }],
    consistency: 6,
    timestampMicros: at(-60_000),
    writtenAtSeconds: NOW_MS / 1000 - 60,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: "UPDATE t SET l = l + ['a'] WHERE id = 1", values: [] }],
    idempotent: false,
    readBack: true,
    attempts: 1,
    ...change,
  };
}

/** What the message came to, and the attempt that comes next where there is one. */
async function replay(write: FailedWrite): Promise<string> {
  const [outcome] = await replayMessages([delivered(messageOf(write))], ports, { copy: NO_COPIES });
  const { resend, bury } = outcome!;
  if (bury.length > 0) return 'dead';
  if (resend.length === 0) return 'applied';
  const message = decodeMessage(resend[0]!.body);
  return message.kind === 'copy' ? `copy of ${message.tokens}` : `attempt ${message.writes[0]!.attempts}`;
}

test('an append that is lost on one cluster is copied from the other, and those that came later are not doubled', async () => {
  for (const [index, element] of ['a', 'b', 'c'].entries()) {
    origin.append(element, at(-60_000 + index));
    if (element !== 'a') target.append(element, at(-60_000 + index));
  }
  expect(await replay(failed())).toBe('applied');
  expect(target.list).toEqual(['a', 'b', 'c']);
  expect(await replay(failed())).toBe('applied');
  expect(target.list).toEqual(['a', 'b', 'c']);
});

test('several writes of one list that are copied in the same instant double nothing', async () => {
  const writes = ['a', 'b', 'c', 'd'].map((element, index) => {
    origin.append(element, at(-60_000 + index));
    const statements = [{ text: `UPDATE t SET l = l + ['${element}'] WHERE id = 1`, values: [] }];
    return failed({ id: element, statements, timestampMicros: at(-60_000 + index) });
  });
  const messages = writes.map((write) => delivered(messageOf(write)));
  const outcomes = await replayMessages(messages, ports, { copy: NO_COPIES });
  expect(outcomes.map(({ resend, bury }) => resend.length + bury.length)).toEqual([0, 0, 0, 0]);
  expect(target.list).toEqual(['a', 'b', 'c', 'd']);
});

test('one that timed out and was applied all the same is left as it is', async () => {
  for (const cluster of [origin, target]) cluster.append('a', at(-60_000));
  let batches = 0;
  target.onBatch = () => batches++;
  expect(await replay(failed())).toBe('applied');
  expect(target.list).toEqual(['a']);
  expect(batches).toBe(0);
});

test('what the write set beside the list goes along, with the write time of its own', async () => {
  origin.append('a', at(-60_000));
  origin.cell = { value: 'x', at: at(-60_000) };
  const insert = { text: "INSERT INTO t (id, v, l) VALUES (1, 'x', ['a'])", values: [] };
  expect(await replay(failed({ statements: [insert] }))).toBe('applied');
  expect(target.cell).toEqual(origin.cell);
  expect(target.list).toEqual(['a']);
});

test('a write that meets it is waited for; a list that stays different is an attempt, and the last one marks its table', async () => {
  origin.append('a', at(-60_000));
  let sleeps = 0;
  // Applied on the origin after the read; its own copy arrives a little later.
  target.onBatch = () => origin.append('b', at(1));
  afterSleep = () => {
    if (++sleeps === 2) target.append('b', at(1));
  };
  expect(await replay(failed())).toBe('applied');
  expect(sleeps).toBe(2);
  afterSleep = () => origin.append('more', at(2));
  expect(await replay(failed())).toBe('attempt 2');
  expect(await replay(failed({ attempts: 3 }))).toBe('dead');
  expect(await ports.ledger.listSuspects()).toMatchObject([{ keyspace: 'ks', table: 't' }]);
});

test('a list whose elements expire by the table is not given a new life: its table is marked', async () => {
  origin.append('a', at(-60_000));
  origin.defaultTtl = 3600;
  expect(await replay(failed())).toBe('dead');
  expect(target.list).toEqual([]);
  expect(await ports.ledger.listSuspects()).toMatchObject([{ keyspace: 'ks', table: 't' }]);
});

test.each([
  ['whose rows are not known', { statements: [{ text: "INSERT INTO t JSON '{}'", values: [] }] }],
  ['of a cluster that is the primary now', { destination: 'origin' }],
] as const)('one %s is given up, and its table marked', async (_, change) => {
  await ports.ledger.initPhase('dual-async', 'test', new Date(NOW_MS));
  expect(await replay(failed(change))).toBe('dead');
  expect(await ports.ledger.listSuspects()).toHaveLength(1);
});

test('where its partitions are known they are compared instead, by what the primary says now', async () => {
  await ports.ledger.initPhase('dual-async', 'test', new Date(NOW_MS));
  const tables = [{ keyspace: 'ks', table: 't', tokens: [3n] }];
  expect(await replay(failed({ destination: 'origin', tables }))).toBe('copy of 3');
  expect(await replay(failed({ statements: [{ text: "INSERT INTO t JSON '{}'", values: [] }], tables }))).toBe(
    'copy of 3',
  );
  expect(await ports.ledger.listSuspects()).toEqual([]);
});
