import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { decodeInt } from '#core/cql/value-codec.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import type { CqlSession } from '#core/ports.ts';
import type { CqlProxy } from '../../proxy-container/src/proxy.ts';
import { eventually } from '../support/eventually.ts';
import { FrameRelay } from '../support/frame-relay.ts';
import { MemoryQueue } from '../support/in-process-proxy.ts';
import { messageOf } from '../support/messages.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { MigrationCommand } from './support/command.ts';
import { startProxyHere } from './support/proxy-here.ts';
import { type ReplayHere, replayHere } from './support/replay-here.ts';
import { readTestEnvironment } from './support/test-environment.ts';
import { type TtlCase, ttlCases } from './support/ttl-cases.ts';

/** What lives for a while and is copied or replayed later ends when it does on the origin (CORRECTNESS: test 5). */
const KEYSPACE = 'replay_ttl_test';
/** How late the replay is. Milliseconds. */
const LATE_MS = 4_000;
const TOLERANCE_SECONDS = 2;
const CASES = ttlCases(KEYSPACE);

const environment = readTestEnvironment();
const folder = mkdtempSync(join(tmpdir(), 'ringshift-ttl-'));
let origin: Client;
let target: Client;
/** In front of the target. */
let relay: FrameRelay;
let proxy: CqlProxy;
let command: MigrationCommand;
let ledger: Ledger;

beforeAll(async () => {
  [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KEYSPACE);
    await client.execute(`CREATE TABLE ${KEYSPACE}.plain (id int PRIMARY KEY, v text)`);
    await client.execute(
      `CREATE TABLE ${KEYSPACE}.expiring (id int PRIMARY KEY, v text) WITH default_time_to_live = 60`,
    );
  }
  relay = new FrameRelay(environment.target);
  command = new MigrationCommand(folder, environment.origin, environment.target);
  ledger = createLedger(createFileLedgerStore(command.ledgerFolder));
  proxy = await startProxyHere({
    instance: 'ttl',
    origin: environment.origin,
    target: { host: '127.0.0.1', port: await relay.listen() },
    shadowTimeoutMs: 60_000,
    journalDir: join(folder, 'journal'),
    ledger,
    queue: new MemoryQueue(),
  });
});

afterAll(async () => {
  relay?.unmute();
  await proxy?.stop();
  await relay?.close();
  await Promise.all([origin?.shutdown(), target?.shutdown()]);
  rmSync(folder, { recursive: true, force: true });
});

function failed(
  id: number,
  { name, text: statement, values, lifeSeconds }: TtlCase,
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

const shadowInFlight = () => proxy.status().counters['shadowInFlight'];
const arrived = () => eventually(() => expect(shadowInFlight()).toBe(0));

/** When what is in a table ends, exactly: both clusters are asked as of one instant. Seconds since the epoch. */
async function endsOn(session: CqlSession, table: string, nowInSeconds: number): Promise<Map<number, number | null>> {
  const { rows } = await session.query(`SELECT id, ttl(v) FROM ${KEYSPACE}.${table}`, [], { nowInSeconds });
  return new Map(rows.map(([id, ttl]) => [decodeInt(id!), ttl ? nowInSeconds + decodeInt(ttl) : null]));
}

test('v5: copies that are late end when their originals do, to the second', async () => {
  const { address, port } = proxy.addresses!.listen;
  const { username, password } = environment;
  const { auth: _, ...at } = migrationConfigSchema.parse({
    origin: { contactPoints: [address], port },
    target: { contactPoints: [address], port },
  }).origin;
  const app = await createCqlSession(
    { ...at, name: 'origin', credentials: { username, password } },
    undefined,
    KEYSPACE,
  );
  const here = replayHere();
  try {
    expect(app.protocolVersion).toBe(5);
    for (const client of [origin, target]) {
      for (const table of ['plain', 'expiring']) await client.execute(`TRUNCATE ${KEYSPACE}.${table}`);
    }
    const cases = CASES.flatMap((make, index) => [make(index * 2), make(index * 2 + 1)]);
    const write = async ({ text: statement, values }: TtlCase): Promise<void> => {
      if (values.length === 0) await app.query(statement);
      else await app.execute(await app.prepare(statement), values);
    };
    // Each in the general way, so that the second is the usual write.
    for (const one of cases) await write(one);
    await app.query("INSERT INTO plain (id, v) VALUES (90, 'x') IF NOT EXISTS USING TTL 60");
    await arrived();
    relay.mute();
    const sentAtSeconds = Math.floor(Date.now() / 1000);
    for (const one of cases) await write(one);
    await app.query("INSERT INTO plain (id, v) VALUES (91, 'x') IF NOT EXISTS USING TTL 60");
    await sleep(LATE_MS);
    expect(shadowInFlight()).toBe(cases.length + 1);
    relay.unmute();
    await arrived();
    const sessions = [await here.session('origin'), await here.session('target')] as const;
    for (const table of ['plain', 'expiring']) {
      const [mine, theirs] = await Promise.all(sessions.map((session) => endsOn(session, table, sentAtSeconds)));
      expect(theirs).toEqual(mine);
      const lives = [...mine!.values()].flatMap((endsAt) => (endsAt === null ? [] : [endsAt - sentAtSeconds]));
      expect(lives.length).toBeGreaterThan(3);
      for (const life of lives)
        expect(Math.min(Math.abs(life - 60), Math.abs(life - 600))).toBeLessThan(LATE_MS / 1000);
    }
    expect(await ledger.listSuspects()).toEqual([]);
  } finally {
    relay.unmute();
    await here.close();
    await app.close();
  }
});

test('v4: copies that are late are marked, and a comparison of the marks brings them to one end', async () => {
  const { address, port } = proxy.addresses!.listen;
  const app = await connectToProxy({ host: address, port }, KEYSPACE, { protocolOptions: { port, maxVersion: 4 } });
  const here = replayHere();
  try {
    const writes = [
      ['INSERT INTO plain (id, v) VALUES (?, ?) USING TTL 3000', 'plain', 200],
      ['INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL 3000', 'expiring', 201],
      ['UPDATE plain USING TTL 3000 SET v = ? WHERE id = ?', 'plain', 202],
      ['INSERT INTO plain (id, v) VALUES (?, ?)', 'plain', 203],
    ] as const;
    const write = ([statement, , id]: (typeof writes)[number], v: string) =>
      app.execute(statement, statement.startsWith('UPDATE') ? [v, id] : [id, v], { prepare: true });
    for (const one of writes) await write(one, 'first');
    await arrived();
    expect(await ledger.listSuspects()).toEqual([]);
    relay.fateOf = () => ({ hold: true });
    for (const one of writes) await write(one, 'late');
    await eventually(() => expect(relay.heldCount).toBe(writes.length));
    await sleep(LATE_MS);
    relay.fateOf = () => ({});
    relay.release();
    await arrived();
    const sessions = [await here.session('origin'), await here.session('target')] as const;
    const lateBy = async (): Promise<number[]> => {
      const now = Math.floor(Date.now() / 1000);
      const found: number[] = [];
      for (const table of ['plain', 'expiring']) {
        const [mine, theirs] = await Promise.all(sessions.map((session) => endsOn(session, table, now)));
        for (const [id, endsAt] of mine!) if (id >= 200 && endsAt !== null) found.push(theirs!.get(id)! - endsAt);
      }
      return found;
    };
    for (const seconds of await lateBy()) expect(seconds).toBeGreaterThan(TOLERANCE_SECONDS);
    await eventually(async () => {
      const marks = (await ledger.listSuspects()).filter(({ code }) => code === 'late-ttl');
      expect(marks.flatMap(({ table, tokens }) => (tokens ?? []).map(() => table)).sort()).toEqual([
        'expiring',
        'plain',
        'plain',
      ]);
    });
    const validate = ['validate', 'start', '--keyspace', KEYSPACE, '--local', '--suspects', '--reconcile'];
    const repaired = await command.run(...validate);
    expect(repaired.json, repaired.stderr).toMatchObject({ status: 'done', totals: { differing: 3, repaired: 3 } });
    for (const seconds of await lateBy()) expect(Math.abs(seconds)).toBeLessThanOrEqual(TOLERANCE_SECONDS);
    expect(await ledger.listSuspects()).toEqual([]);
  } finally {
    relay.fateOf = () => ({});
    relay.release();
    await here.close();
    await app.shutdown();
  }
});
