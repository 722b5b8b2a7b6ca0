import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { eventually } from '../support/eventually.ts';
import { messageOf } from '../support/messages.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { type ReplayHere, replayHere } from './support/replay-here.ts';

/** What lives for a while and is replayed later ends when it does on the origin (CORRECTNESS: test 5). */
const KEYSPACE = 'replay_ttl_test';
/** How late the replay is. Milliseconds. */
const LATE_MS = 4_000;
const TOLERANCE_SECONDS = 2;

interface Case {
  readonly name: string;
  readonly text: string;
  readonly values: readonly Uint8Array[];
  /** Of all that it writes; null where each statement says so itself, or nothing ends. Seconds. */
  readonly lifeSeconds?: number;
}

const int = (value: number) => encodeInt(value);
const text = encodeText('x');
/** Each writes to the row of its number. */
const CASES: readonly ((id: number) => Case)[] = [
  (id) => ({
    name: 'a literal TTL',
    text: 'INSERT INTO plain (id, v) VALUES (?, ?) USING TTL 60',
    values: [int(id), text],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: 'a bound TTL',
    text: 'UPDATE plain USING TTL ? SET v = ? WHERE id = ?',
    values: [int(60), text, int(id)],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: "the table's default",
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?)',
    values: [int(id), text],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: 'the default, said by nobody',
    text: 'UPDATE expiring SET v = ? WHERE id = ?',
    values: [text, int(id)],
  }),
  (id) => ({
    name: 'another life than the default',
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL 600',
    values: [int(id), text],
    lifeSeconds: 600,
  }),
  (id) => ({
    name: 'no end, against the default',
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL 0',
    values: [int(id), text],
  }),
  (id) => ({ name: 'no end', text: 'INSERT INTO plain (id, v) VALUES (?, ?)', values: [int(id), text] }),
  (id) => ({
    name: 'a batch of two lives',
    text: `BEGIN BATCH INSERT INTO ${KEYSPACE}.plain (id, v) VALUES (${id}, 'x') USING TTL 60; UPDATE ${KEYSPACE}.expiring SET v = 'x' WHERE id = ${id}; APPLY BATCH`,
    values: [],
  }),
];

let origin: Client;
let target: Client;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.plain (id int PRIMARY KEY, v text)`);
    await client.execute(
      `CREATE TABLE ${KEYSPACE}.expiring (id int PRIMARY KEY, v text) WITH default_time_to_live = 60`,
    );
  }
});

afterAll(async () => {
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
});

function failed(
  id: number,
  { name, text: statement, values, lifeSeconds }: Case,
  writtenAtSeconds: number,
): FailedWrite {
  return {
    id: `ttl-${id}`,
    keyspace: KEYSPACE,
    tables: ['plain', 'expiring'].map((table) => ({ keyspace: KEYSPACE, table })),
    consistency: Consistency.LOCAL_QUORUM,
    timestampMicros: BigInt(writtenAtSeconds) * 1_000_000n,
    writtenAtSeconds,
    expiresAtSeconds: lifeSeconds === undefined ? null : writtenAtSeconds + lifeSeconds,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: statement, values }],
    idempotent: true,
    reason: name,
    attempts: 1,
  };
}

interface Life {
  readonly v: string | null;
  readonly writtenAt: string;
  /** null: it does not end. Seconds since the epoch. */
  readonly endsAt: number | null;
}

async function livesOn(client: Client): Promise<Map<string, Life>> {
  const lives = new Map<string, Life>();
  for (const table of ['plain', 'expiring']) {
    const { rows } = await client.execute(`SELECT id, v, writetime(v) AS at, ttl(v) AS ttl FROM ${KEYSPACE}.${table}`);
    for (const row of rows) {
      const endsAt = row['ttl'] === null ? null : Math.floor(Date.now() / 1000) + Number(row['ttl']);
      lives.set(`${table} ${row['id']}`, { v: row['v'], writtenAt: String(row['at']), endsAt });
    }
  }
  return lives;
}

/** The write as the primary took it. */
async function applyOnOrigin(here: ReplayHere, { statements, timestampMicros }: FailedWrite): Promise<void> {
  const { text: statement, values } = statements[0]!;
  const session = await here.session('origin');
  const qualified = statement.replace(/(INTO|UPDATE) (plain|expiring)/, `$1 ${KEYSPACE}.$2`);
  await session.query(qualified, values as Uint8Array[], { timestampMicros });
}

test.each([5, 4])('a replay that is late ends no life later: by protocol v%i', async (version) => {
  const here = replayHere({ version });
  try {
    for (const client of [origin, target]) {
      for (const table of ['plain', 'expiring']) await client.execute(`TRUNCATE ${KEYSPACE}.${table}`);
    }
    const writtenAtSeconds = Math.floor(Date.now() / 1000);
    const writes = CASES.map((make, id) => failed(id, make(id), writtenAtSeconds));
    for (const write of writes) await applyOnOrigin(here, write);
    await sleep(LATE_MS);
    const bodies = [messageOf(...writes)];
    expect(await here.drain(bodies)).toEqual({ applied: 1, dead: 0 });
    // Again, and later still.
    await sleep(1000);
    expect(await here.drain(bodies)).toEqual({ applied: 1, dead: 0 });
    const [mine, theirs] = [await livesOn(origin), await livesOn(target)];
    expect([...theirs.keys()].sort()).toEqual([...mine.keys()].sort());
    expect(mine.size).toBe(CASES.length + 1);
    for (const [row, life] of mine) {
      const { endsAt, ...other } = theirs.get(row)!;
      expect({ row, ...other }).toEqual({ row, v: life.v, writtenAt: life.writtenAt });
      expect(endsAt === null, row).toBe(life.endsAt === null);
      expect(Math.abs((endsAt ?? 0) - (life.endsAt ?? 0)), row).toBeLessThanOrEqual(TOLERANCE_SECONDS);
    }
  } finally {
    await here.close();
  }
});

test.each([5, 4])(
  'what has ended before it is replayed still covers what it replaced: by protocol v%i',
  async (version) => {
    const here = replayHere({ version });
    try {
      const first = version * 100;
      const writtenAtSeconds = Math.floor(Date.now() / 1000) - 300;
      const writes = CASES.slice(0, 4).map((make, index) =>
        failed(first + index, make(first + index), writtenAtSeconds),
      );
      for (const [index, { timestampMicros }] of writes.entries()) {
        const table = index < 2 ? 'plain' : 'expiring';
        const older = `INSERT INTO ${KEYSPACE}.${table} (id, v) VALUES (?, 'older') USING TTL 0 AND TIMESTAMP ${timestampMicros - 1n}`;
        await target.execute(older, [first + index], { prepare: true });
      }
      const table = async (name: string) => (await target.execute(`SELECT id, v FROM ${KEYSPACE}.${name}`)).rows;
      expect(
        [...(await table('plain')), ...(await table('expiring'))].filter((row) => row['v'] === 'older'),
      ).toHaveLength(4);
      expect(await here.drain([messageOf(...writes)])).toEqual({ applied: 1, dead: 0 });
      await eventually(async () => {
        const rows = [...(await table('plain')), ...(await table('expiring'))];
        expect(rows.filter((row) => Number(row['id']) >= first && row['v'] !== null)).toEqual([]);
      });
    } finally {
      await here.close();
    }
  },
);
