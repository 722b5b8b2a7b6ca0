import { beforeEach, expect, test } from 'vitest';
import { serializeKey } from '#core/checksum/selected-row.ts';
import { decodeBigint, decodeInt, decodeText, encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { RequestTimeoutError } from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { type ConvergeOptions, convergeCounters } from '#core/jobs/converge-counters.ts';
import type { ValidationPorts } from '#core/jobs/validation-ports.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { parseCqlType } from '#core/model/parse-cql-type.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { CqlSession } from '#core/ports.ts';
import { tokenOf } from '#core/token/token.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const column = (name: string, type: string) => ({ name, type: parseCqlType(type, 'ks', () => undefined) });
const schema: TableSchema = {
  ...{ keyspace: 'ks', table: 'hits', partitionKey: [column('pk', 'text')] },
  clustering: [{ ...column('ck', 'int'), reversed: false }],
  staticColumns: [],
  regularColumns: [column('a', 'counter'), column('b', 'counter')],
  ...{ droppedColumns: [], defaultTimeToLiveSeconds: 0, gcGraceSeconds: 864_000, isCounter: true },
};

/** A cluster with one table of counters that speaks just enough CQL. */
class CounterCluster {
  readonly rows = new Map<string, Map<string, bigint>>();
  additions = 0;
  /** Whether the answer to an addition is lost, and the addition with it. */
  fateOf: () => 'answered' | 'applied' | 'lost' = () => 'answered';
  onRead: () => void = () => undefined;

  add(pk: string, ck: number, name: string, by: number): void {
    const row = this.rows.get(`${pk}/${ck}`) ?? new Map<string, bigint>();
    this.rows.set(`${pk}/${ck}`, row.set(name, (row.get(name) ?? 0n) + BigInt(by)));
  }

  readonly session: CqlSession = {
    protocolVersion: 5,
    query: async () => ({ columns: [], rows: [] }),
    prepare: async (text) => ({ text, id: new Uint8Array(1) }),
    execute: async ({ text }, given) => {
      const values = given as Uint8Array[];
      if (text.startsWith('SELECT')) this.onRead();
      if (text.includes('token("pk") > ?') || /token\(pk\) > \?/.test(text)) {
        const [start, end] = values.map(decodeBigint);
        return this.#select((pk) => tokenOfKey(pk) > start! && tokenOfKey(pk) <= end!);
      }
      if (text.startsWith('SELECT token')) return this.#select((pk) => pk === decodeText(values[0]!));
      const [pk, ck] = [decodeText(values.at(-2)!), decodeInt(values.at(-1)!)];
      if (text.startsWith('SELECT')) {
        const row = this.rows.get(`${pk}/${ck}`);
        return { columns: [], rows: row ? [['a', 'b'].map((name) => countOf(row, name))] : [] };
      }
      const fate = this.fateOf();
      const names = [...text.matchAll(/"?(\w+)"? = "?\1"? \+ \?/g)].map((match) => match[1]!);
      if (fate !== 'lost')
        for (const [i, name] of names.entries()) this.add(pk, ck, name, Number(decodeBigint(values[i]!)));
      this.additions++;
      if (fate !== 'answered') throw new RequestTimeoutError('lost', { context: {} });
      return { columns: [], rows: [] };
    },
    batch: async () => expect.unreachable(),
    close: async () => undefined,
  };

  #select(isWanted: (pk: string) => boolean) {
    const rows = [...this.rows]
      .map(([place, row]) => ({ pk: place.split('/')[0]!, ck: Number(place.split('/')[1]), row }))
      .filter(({ pk }) => isWanted(pk))
      .sort((x, y) => (x.pk === y.pk ? x.ck - y.ck : tokenOfKey(x.pk) < tokenOfKey(y.pk) ? -1 : 1))
      .map(({ pk, ck, row }) => [
        ...[encodeBigint(tokenOfKey(pk)), encodeText(pk), encodeInt(ck)],
        ...['a', 'b'].map((name) => countOf(row, name)),
      ]);
    return { columns: [], rows };
  }
}

const tokenOfKey = (pk: string) => tokenOf(serializeKey([encodeText(pk)]));
const countOf = (row: Map<string, bigint>, name: string) => (row.has(name) ? encodeBigint(row.get(name)!) : null);

let origin: CounterCluster;
let target: CounterCluster;
let ledger: Ledger;
let nowMillis: number;
let ports: ValidationPorts;
const options: ConvergeOptions = {
  ...{ originConsistency: Consistency.LOCAL_ONE, targetConsistency: Consistency.LOCAL_QUORUM },
  ...{ filter: createFilter(NO_FILTER_RULES), authority: 'origin', runId: 'r1', by: 'me' },
};

beforeEach(() => {
  [origin, target] = [new CounterCluster(), new CounterCluster()];
  ledger = createLedger(createMemoryLedgerStore());
  nowMillis = Date.UTC(2027, 0, 1);
  ports = {
    ...{ origin: origin.session, target: target.session, objects: createMemoryObjectStore(), ledger },
    clock: { nowMillis: () => nowMillis },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async (ms) => {
      await Promise.resolve();
      nowMillis += ms;
    },
  };
  for (let pk = 0; pk < 30; pk++) {
    for (let ck = 0; ck < 3; ck++) {
      for (const cluster of [origin, target]) cluster.add(`p${pk}`, ck, 'a', 100 * pk + ck);
    }
  }
});

test('only what differs is added, in either direction, and the table is validated without its older marks', async () => {
  origin.add('p3', 1, 'a', 7);
  target.add('p4', 2, 'a', 5);
  origin.add('p5', 0, 'b', -3);
  origin.add('new', 9, 'a', 1);
  const at = new Date(nowMillis - 60_000);
  const mark = { version: 1 as const, keyspace: 'ks', table: 'hits', range: null, reason: 'lost', by: 'p1' };
  await ledger.addSuspect('m', { ...mark, at: at.toISOString(), code: 'counter' });
  await ledger.setTable('ks', 'hits', 'suspect', { now: at, by: 'p1', reason: 'lost' });
  const result = await convergeCounters(schema, ports, options);
  expect(result).toMatchObject({ partitions: 31, differing: 4, converged: 4, remaining: 0, onlyInShadow: 0 });
  expect(target.rows).toEqual(origin.rows);
  expect([origin.additions, target.additions]).toEqual([0, 4]);
  expect(await ledger.listSuspects()).toEqual([]);
  expect(await ledger.readTable('ks', 'hits')).toMatchObject({ state: 'validated' });
});

test('after the flip the origin is what is brought up', async () => {
  target.add('p3', 1, 'a', 7);
  await convergeCounters(schema, ports, { ...options, authority: 'target' });
  expect(origin.rows).toEqual(target.rows);
  expect([origin.additions, target.additions]).toEqual([1, 0]);
});

test('an addition whose answer is lost is read again and not repeated blindly', async () => {
  for (let pk = 0; pk < 10; pk++) origin.add(`p${pk}`, 0, 'a', 1);
  let count = 0;
  target.fateOf = () => (['answered', 'applied', 'lost'] as const)[count++ % 3]!;
  expect(await convergeCounters(schema, ports, options)).toMatchObject({ converged: 10, remaining: 0 });
  expect(target.rows).toEqual(origin.rows);
});

test('a counter that only the shadow has is told of and left, and the table stays as it is', async () => {
  target.add('p3', 77, 'a', 7);
  await ledger.setTable('ks', 'hits', 'suspect', { now: new Date(nowMillis - 1000), by: 'p1', reason: 'lost' });
  expect(await convergeCounters(schema, ports, options)).toMatchObject({ onlyInShadow: 1, converged: 0, remaining: 1 });
  expect(target.additions).toBe(0);
  expect(await ledger.readTable('ks', 'hits')).toMatchObject({ state: 'suspect' });
});

test('somebody who writes meanwhile is found by the comparison at the end', async () => {
  origin.add('p3', 1, 'a', 7);
  target.fateOf = () => {
    origin.add('p29', 0, 'a', 1);
    origin.add('p0', 0, 'a', 1);
    origin.add('p3', 1, 'a', 1);
    return 'answered';
  };
  expect((await convergeCounters(schema, ports, options)).remaining).toBeGreaterThan(0);
  expect(await ledger.readTable('ks', 'hits')).toBeUndefined();
});

test('two at once exclude each other', async () => {
  const claim = await ledger.claimRange(
    { runId: 'other', keyspace: 'ks', table: 'hits', start: '-10', end: '10' },
    ports,
  );
  // Its lease is renewed whenever somebody waits for it.
  const sleep = async (ms: number) => {
    await claim.renew();
    await ports.sleep(ms);
  };
  const waiting = { ...ports, sleep };
  await expect(convergeCounters(schema, waiting, options)).rejects.toThrow(/another call is at work/);
  expect(target.additions).toBe(0);
});
