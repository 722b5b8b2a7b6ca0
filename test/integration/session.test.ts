import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCqlSession } from '#adapters/cql/session.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { decodeBigint, decodeInt, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { AuthenticationFailedError, ClusterUnreachableError, PrerequisiteError, ServerError } from '#core/errors.ts';
import type { CqlSession } from '#core/ports.ts';
import { tokenOf } from '#core/token/token.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const environment = readTestEnvironment();
const { username, password } = environment;

function clusterAt(name: 'origin' | 'target', changes: Partial<ResolvedCluster> = {}): ResolvedCluster {
  const { host, port } = environment[name];
  return {
    name,
    kind: 'cassandra',
    contactPoints: [host],
    port,
    localDatacenter: 'dc1',
    credentials: { username, password },
    tls: { enabled: false, caFile: null, certFile: null, keyFile: null, verifyHostname: true },
    secureConnectBundle: null,
    consistency: { read: 'LOCAL_QUORUM', write: 'LOCAL_QUORUM', serial: 'LOCAL_SERIAL' },
    connectionsPerHost: 2,
    connectTimeoutMs: 5000,
    requestTimeoutMs: 20_000,
    retry: { maxAttempts: 3, minDelayMs: 50, maxDelayMs: 500, on: ['timeout', 'unavailable', 'overloaded'] },
    addressMap: {},
    maxWaitMs: 1000,
    pageSize: 5000,
    preparedCacheSize: 1000,
    routing: { tokenAware: true },
    ...changes,
  };
}

describe.each(['origin', 'target'] as const)('a session with the %s', (name) => {
  const keyspace = 'ringshift_session_test';
  const items = `${keyspace}.items`;
  let session: CqlSession;

  beforeAll(async () => {
    session = await createCqlSession(clusterAt(name));
    const replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    await session.query(`DROP KEYSPACE IF EXISTS ${keyspace}`);
    await session.query(`CREATE KEYSPACE ${keyspace} WITH replication = ${replication}`);
    await session.query(`CREATE TABLE ${items} (id int, part int, v text, w text, PRIMARY KEY (id, part))`);
    await session.query(`CREATE TABLE ${keyspace}.blobs (id int PRIMARY KEY, data blob)`);
    await session.query(`CREATE TABLE ${keyspace}.counters (id int PRIMARY KEY, hits counter)`);
  });

  afterAll(async () => {
    await session?.query(`DROP KEYSPACE IF EXISTS ${keyspace}`);
    await session?.close();
  });

  test('speaks v5 with servers that do', () => {
    expect(session.protocolVersion).toBe(5);
  });

  test('writes with the given timestamp', async () => {
    const insert = await session.prepare(`INSERT INTO ${items} (id, part, v) VALUES (?, ?, ?)`);
    const timestampMicros = 1_700_000_000_000_123n;
    await session.execute(insert, [encodeInt(1), encodeInt(1), encodeText('a')], { timestampMicros });
    const { rows } = await session.query(`SELECT v, writetime(v) FROM ${items} WHERE id = 1`);
    expect(rows[0]![0]!.toString()).toBe('a');
    expect(decodeBigint(rows[0]![1]!)).toBe(timestampMicros);
  });

  test('expires a value at the exact second that now_in_seconds and the TTL give', async () => {
    const insert = await session.prepare(`INSERT INTO ${items} (id, part, v) VALUES (?, ?, ?) USING TTL ?`);
    const nowInSeconds = Math.floor(Date.now() / 1000);
    const values = [encodeInt(2), encodeInt(1), encodeText('soon gone'), encodeInt(1000)];
    await session.execute(insert, values, { nowInSeconds: nowInSeconds - 400 });
    // The reader's clock is given too, so that the comparison is exact: 600 s are left at this instant.
    const at = async (offset: number) =>
      session.query(`SELECT ttl(v) FROM ${items} WHERE id = 2`, [], { nowInSeconds: nowInSeconds + offset });
    expect(decodeInt((await at(0)).rows[0]![0]!)).toBe(600);
    expect(decodeInt((await at(599)).rows[0]![0]!)).toBe(1);
    expect((await at(600)).rows).toEqual([]);
  });

  test('leaves unset columns as they are and deletes null ones', async () => {
    const insert = await session.prepare(`INSERT INTO ${items} (id, part, v, w) VALUES (?, ?, ?, ?)`);
    const key = [encodeInt(3), encodeInt(1)];
    await session.execute(insert, [...key, encodeText('v'), encodeText('w')], { timestampMicros: 10n });
    await session.execute(insert, [...key, undefined, null], { timestampMicros: 20n });
    const { rows } = await session.query(`SELECT v, w FROM ${items} WHERE id = 3`);
    expect([rows[0]![0]?.toString(), rows[0]![1]]).toEqual(['v', null]);
  });

  test('pages through a partition and sees every row once', async () => {
    const insert = await session.prepare(`INSERT INTO ${items} (id, part, v) VALUES (?, ?, ?)`);
    const entries = Array.from({ length: 250 }, (_, part) => ({
      statement: insert,
      values: [encodeInt(4), encodeInt(part), encodeText(`v${part}`)],
    }));
    await session.batch('unlogged', entries, { timestampMicros: 5n });
    const parts: number[] = [];
    let pagingState: Uint8Array | undefined;
    let pages = 0;
    do {
      const page = await session.query(`SELECT part FROM ${items} WHERE id = 4`, [], {
        pageSize: 100,
        ...(pagingState ? { pagingState } : {}),
      });
      parts.push(...page.rows.map(([part]) => decodeInt(part!)));
      pagingState = page.pagingState;
      pages++;
    } while (pagingState);
    expect(parts).toEqual(Array.from({ length: 250 }, (_, part) => part));
    expect(pages).toBe(3);
  });

  test('sends and receives frames larger than a v5 segment', async () => {
    const data = Buffer.alloc(700 * 1024, Buffer.from('ringshift '));
    data.writeUInt32BE(0xdeadbeef, 300_000);
    const insert = await session.prepare(`INSERT INTO ${keyspace}.blobs (id, data) VALUES (?, ?)`);
    await session.execute(insert, [encodeInt(1), data], { timestampMicros: 1n });
    const { rows } = await session.query(`SELECT data FROM ${keyspace}.blobs WHERE id = 1`);
    expect(data.equals(rows[0]![0]!)).toBe(true);
  });

  test('answers many requests at once, each with its own reply', async () => {
    const insert = await session.prepare(`INSERT INTO ${items} (id, part, v) VALUES (?, ?, ?)`);
    const select = await session.prepare(`SELECT v FROM ${items} WHERE id = ? AND part = 0`);
    const ids = Array.from({ length: 500 }, (_, index) => 1000 + index);
    const options = (id: number) => ({ timestampMicros: 7n, routingKey: encodeInt(id) });
    await Promise.all(
      ids.map((id) => session.execute(insert, [encodeInt(id), encodeInt(0), encodeText(`#${id}`)], options(id))),
    );
    const pages = await Promise.all(ids.map((id) => session.execute(select, [encodeInt(id)])));
    expect(pages.map(({ rows }) => rows[0]![0]!.toString())).toEqual(ids.map((id) => `#${id}`));
  });

  test('prepares again what the server has forgotten', async () => {
    const text = `SELECT v FROM ${items} WHERE id = ? AND part = ?`;
    const select = await session.prepare(text);
    // Dropping the table drops its prepared statements from the server's cache.
    await session.query(`DROP TABLE ${items}`);
    await session.query(`CREATE TABLE ${items} (id int, part int, v text, w text, PRIMARY KEY (id, part))`);
    const { rows } = await session.execute(select, [encodeInt(1), encodeInt(1)]);
    expect(rows).toEqual([]);
  });

  test('adds to a counter once', async () => {
    const add = await session.prepare(`UPDATE ${keyspace}.counters SET hits = hits + 2 WHERE id = 1`);
    await session.batch('counter', [{ statement: add, values: [] }]);
    await session.execute(add, []);
    const { rows } = await session.query(`SELECT hits FROM ${keyspace}.counters WHERE id = 1`);
    expect(decodeBigint(rows[0]![0]!)).toBe(4n);
  });

  test('computes the tokens that the server computes', async () => {
    const { rows } = await session.query(`SELECT token(id) FROM ${keyspace}.blobs WHERE id = 1`);
    expect(tokenOf(encodeInt(1))).toBe(decodeBigint(rows[0]![0]!));
  });

  test('passes on what the server refuses, with its code', async () => {
    const error = await session.query(`SELECT nothing FROM ${items}`).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ServerError);
    expect((error as ServerError).code).toBe(0x2200);
    expect((error as ServerError).message).toMatch(new RegExp(`^${name} .*INVALID: `));
  });

  test('stops waiting when the signal fires', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(session.query('SELECT key FROM system.local', [], { signal })).rejects.toThrow('enough');
  });

  test('names the node and the remedy when the password is wrong', async () => {
    const opening = createCqlSession(clusterAt(name, { credentials: { username, password: 'wrong-one' } }));
    const error = await opening.catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(AuthenticationFailedError);
    expect((error as Error).message).toContain(`correct ${name}.auth`);
    expect((error as Error).message).not.toContain('wrong-one');
  });

  test('names the node when nothing listens there', async () => {
    const opening = createCqlSession(clusterAt(name, { port: 9 }));
    await expect(opening).rejects.toThrow(ClusterUnreachableError);
    await expect(createCqlSession(clusterAt(name, { port: 9 }))).rejects.toThrow(
      /:9 can't be reached: nothing listens/,
    );
  });

  test('goes on to the next contact point when the first is down', async () => {
    const { host } = environment[name];
    const other = await createCqlSession(clusterAt(name, { contactPoints: ['127.0.0.254', host] }));
    expect((await other.query('SELECT key FROM system.local')).rows.length).toBe(1);
    await other.close();
  });

  test('says which data centres there are when the configured one is none of them', async () => {
    await expect(createCqlSession(clusterAt(name, { localDatacenter: 'mars' }))).rejects.toThrow(PrerequisiteError);
  });
});
