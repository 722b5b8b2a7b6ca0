import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FrameFlag } from '#core/cql/protocol.ts';
import { decodeUuid } from '#core/cql/value-codec.ts';
import { eventually } from '../support/eventually.ts';
import { DriverEnvironment, readerLogin } from './support/driver-environment.ts';
import { INSERT, protocolCases } from './support/protocol-cases.ts';
import { type Dialect, RawClient } from './support/raw-client.ts';
import { decodeReply, RawSide } from './support/raw-side.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const DIRECT = 'differential_d';
const THROUGH = 'differential_p';
const environment = readTestEnvironment();
const { username, password } = environment;
let parts: DriverEnvironment;

const TABLES = [
  'items (id int, part int, v text, w text, PRIMARY KEY (id, part))',
  'hits (id int PRIMARY KEY, n counter)',
  'lwt_ (id int PRIMARY KEY, v text)',
];

beforeAll(async () => {
  parts = await DriverEnvironment.start(25_420, [THROUGH], [DIRECT]);
  for (const client of [parts.origin, parts.target]) {
    for (const keyspace of [DIRECT, THROUGH]) {
      for (const table of TABLES) await client.execute(`CREATE TABLE ${keyspace}.${table}`);
      const insert = `INSERT INTO ${keyspace}.items (id, part, v) VALUES (?, ?, ?) USING TIMESTAMP 1`;
      for (let part = 0; part < 7; part++) await client.execute(insert, [1, part, `v${part}`], { prepare: true });
    }
  }
});

afterAll(() => parts?.stop());

const dialects: readonly Dialect[] = [
  { version: 3 },
  { version: 3, compression: 'snappy' },
  { version: 4 },
  { version: 4, compression: 'lz4' },
  { version: 4, compression: 'snappy' },
  { version: 5 },
  { version: 5, compression: 'lz4' },
];

describe.each([
  { phase: 'dual-async', cluster: 'origin' },
  { phase: 'target-primary', cluster: 'target' },
] as const)('in $phase the proxy answers as the $cluster does', ({ phase, cluster }) => {
  beforeAll(async () => {
    if (phase === 'dual-async') return;
    for (const next of ['dual-sync', 'target-primary']) await parts.proxy.setPhase(next);
  });

  describe.each(dialects)('v$version $compression', (dialect) => {
    // Partitions of its own, so that no run sees what another has left.
    const base = (1 + dialects.indexOf(dialect) + (phase === 'dual-async' ? 0 : dialects.length)) * 100;

    test.each(protocolCases.filter(({ from = 3 }) => dialect.version >= from))('$name', async ({ run }) => {
      const sides = await Promise.all([
        RawClient.login(environment[cluster], dialect, username, password).then(
          (one) => new RawSide(one, DIRECT, base),
        ),
        RawClient.login(parts.listen, dialect, username, password).then((one) => new RawSide(one, THROUGH, base)),
      ]);
      try {
        await Promise.all(sides.map((side) => run(side)));
        const [direct, through] = sides.map(({ seen }) => seen);
        expect(through).toEqual(direct);
      } finally {
        for (const { client } of sides) client.close();
      }
    });

    test('a traced request of every kind names a trace that can be read', async () => {
      const client = await RawClient.login(parts.listen, dialect, username, password);
      const side = new RawSide(client, THROUGH, base);
      const flag = FrameFlag.TRACING;
      const insert = await side.prepare(INSERT);
      const replies = [
        await side.query('SELECT v FROM KS.items WHERE id = 1', {}, flag),
        await side.query('INSERT INTO KS.items (id, part) VALUES (#31, 1)', {}, flag),
        await side.execute(insert, { values: [...side.key(31, 2), null, null] }, flag),
        await side.batch(0, [[insert, [...side.key(31, 3), null, null]]], {}, flag),
      ];
      for (const { flags, body } of replies) {
        expect(flags & flag).toBe(flag);
        const id = decodeUuid(body.subarray(0, 16));
        const read = async () => {
          const result = decodeReply(
            await side.query(`SELECT request FROM system_traces.sessions WHERE session_id = ${id}`),
          );
          return result.kind === 'rows' ? result.rows.length : 0;
        };
        await eventually(async () => expect(await read()).toBe(1));
      }
      client.close();
    });
  });

  test.each([3, 4, 5])('v%i: what a user may not do is refused in the same words', async (version) => {
    const { username: role, password: secret } = readerLogin;
    const seen = await Promise.all(
      ([environment[cluster], parts.listen] as const).map(async (place, index) => {
        const client = await RawClient.login(place, { version }, role, secret);
        const side = new RawSide(client, index === 0 ? DIRECT : THROUGH, 0);
        await side.query('SELECT v FROM KS.items WHERE id = 1');
        await side.query('INSERT INTO KS.items (id, part) VALUES (1, 1)');
        await side.query('CREATE TABLE KS.x (id int PRIMARY KEY)');
        await side.query('TRUNCATE KS.items');
        await side.batch(0, [['INSERT INTO KS.items (id, part) VALUES (1, 1)']]);
        const insert = await side.prepare(INSERT).catch(() => undefined);
        if (insert) await side.execute(insert, { values: [...side.key(-1, 1), null, null] });
        client.close();
        return side.seen;
      }),
    );
    expect(seen[1]).toEqual(seen[0]);
  });

  test.each([3, 4, 5])(
    'v%i: a table that is changed shows its new columns to those who prepared before',
    async (version) => {
      const table = `KS.altered_${version}_${cluster.slice(0, 1)}`;
      const client = await RawClient.login(parts.listen, { version }, username, password);
      const side = new RawSide(client, THROUGH, 0);
      await side.query(`CREATE TABLE ${table} (id int PRIMARY KEY, b text)`);
      await side.query(`INSERT INTO ${table} (id, b) VALUES (1, 'b')`);
      const select = await side.prepare(`SELECT * FROM ${table} WHERE id = 1`);
      await side.query(`ALTER TABLE ${table} ADD a int`);
      const result = decodeReply(await side.execute(select, { skipMetadata: true }));
      if (result.kind !== 'rows') throw new Error(`it was answered with ${result.kind}`);
      const { metadata, rows } = result;
      expect(metadata.columns?.map(({ name }) => name)).toEqual(['id', 'a', 'b']);
      expect(rows[0]!.map((value) => value?.toString('hex') ?? null)).toEqual(['00000001', null, '62']);
      expect(metadata.newMetadataId !== undefined).toBe(version >= 5);
      client.close();
    },
  );
});
