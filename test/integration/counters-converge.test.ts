import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { LiveMigration } from './support/live-migration.ts';
import { Random } from './support/random.ts';

/** Counters that have drifted, brought together while nobody writes them (CORRECTNESS: test 7). */
const KEYSPACE = 'counters_converge_test';
const ROWS = 500;
const INCREMENTS = 10_000;

let live: LiveMigration;

beforeAll(async () => {
  const tables = [
    'hits (id int, c int, n counter, s counter static, PRIMARY KEY (id, c))',
    'plain (id int PRIMARY KEY)',
  ];
  live = await LiveMigration.open({ keyspace: KEYSPACE, tables, port: 19_670 });
});

afterAll(() => live?.close());

async function countsOf(client: Client): Promise<string[]> {
  const { rows } = await client.execute(`SELECT id, c, n, s FROM ${KEYSPACE}.hits`, [], { fetchSize: 5000 });
  return rows.map((row) => row.values().map(String).join(' ')).sort();
}

test('10,000 increments with 1 % of the copies timed out: the drift is counted, converged, and gone', async () => {
  const random = new Random(20_261_121);
  let lost = 0;
  live.relay.fateOf = (frame) => {
    if (opcodeOf(frame) !== Opcode.EXECUTE || random.below(100) > 0) return {};
    lost++;
    return { lose: random.below(2) === 0 ? 'request' : 'reply' };
  };
  const update = 'UPDATE hits SET n = n + 1 WHERE id = ? AND c = ?';
  for (let start = 0; start < INCREMENTS; start += 250) {
    await Promise.all(
      Array.from({ length: 250 }, async (_, index) => {
        const row = (start + index) % ROWS;
        await live.app.execute(update, [Math.floor(row / 10), row % 10]);
      }),
    );
  }
  await live.app.execute('UPDATE hits SET s = s + 5 WHERE id = 3');
  await live.settled();
  live.relay.fateOf = () => ({});
  const expected = await countsOf(live.origin);
  expect(expected.reduce((sum, line) => sum + Number(line.split(' ')[2]), 0)).toBe(INCREMENTS);
  expect(lost).toBeGreaterThan(50);
  expect((await live.proxy.counters())['shadowUnqueueable']).toBeGreaterThanOrEqual(lost);
  expect(await countsOf(live.target)).not.toEqual(expected);

  const hasty = await live.run('reconcile', '--counters', '--keyspace', KEYSPACE);
  expect([hasty.code, hasty.stderr]).toEqual([2, expect.stringContaining('--quiesced')]);

  const first = await live.run('reconcile', '--counters', '--quiesced', '--keyspace', KEYSPACE);
  expect(first.code, first.stderr).toBe(0);
  const [hits] = first.json['tables'] as { table: string; differing: number; converged: number }[];
  expect(hits).toMatchObject({ table: 'hits', remaining: 0, onlyInShadow: 0, notTaken: 0 });
  expect(hits!.converged).toBe(hits!.differing);
  expect(hits!.converged).toBeGreaterThan(20);
  expect(await countsOf(live.target)).toEqual(expected);
  expect(await countsOf(live.origin)).toEqual(expected);
});

test('converged counters are validated and their marks gone; to converge them again adds nothing', async () => {
  const again = await live.run('reconcile', '--counters', '--quiesced', '--keyspace', KEYSPACE);
  expect(again.json['tables']).toMatchObject([{ differing: 0, converged: 0, remaining: 0 }]);
  expect(await live.ledger.readTable(KEYSPACE, 'hits')).toMatchObject({ state: 'validated' });
  expect((await live.ledger.listSuspects()).filter(({ keyspace }) => keyspace === KEYSPACE)).toEqual([]);
});

test('a difference that nobody noted is one mark however often it is found, by a code whose remedy takes it away', async () => {
  await live.origin.execute(`UPDATE ${KEYSPACE}.hits SET n = n + 1 WHERE id = 7 AND c = 1`);
  const marks = async () => (await live.ledger.listSuspects()).filter(({ keyspace }) => keyspace === KEYSPACE);
  for (const more of [[], ['--suspects']]) {
    const args = ['validate', 'start', '--local', '--reconcile', '--keyspace', KEYSPACE, ...more];
    const { code, stderr } = await live.run(...args);
    expect(code, stderr).toBe(1);
    expect(await marks()).toMatchObject([{ table: 'hits', code: 'counter', tokens: [expect.any(String)] }]);
  }
  const { code, stderr } = await live.run('reconcile', '--counters', '--quiesced', '--keyspace', KEYSPACE);
  expect(code, stderr).toBe(0);
  expect(await marks()).toEqual([]);
});
