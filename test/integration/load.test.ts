import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listSSTables } from '#adapters/byte-source-file.ts';
import { readSchema } from '#adapters/cassandra/read-schema.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { mergePartitions } from '#core/merge/merge-partitions.ts';
import type { Cell, PartitionEvent } from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { tableFolder } from '../../infra/local/cassandra-tools.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { MigrationCommand } from './support/command.ts';
import { Random } from './support/random.ts';
import { nodetool, takeSnapshot } from './support/shared-tools.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KS = 'load_test';
const TAG = 'load-test';
const ITEMS = [
  `CREATE TYPE ${KS}.address (street text, zip int)`,
  `CREATE TABLE ${KS}.items (a text, b int, c1 int, c2 text, s text static, seen set<int> static, v text, n bigint,
    tags set<text>, attrs map<text, int>, l list<text>, addr address, faddr frozen<address>,
    PRIMARY KEY ((a, b), c1, c2)) WITH CLUSTERING ORDER BY (c1 DESC, c2 ASC) AND gc_grace_seconds = 864000`,
  `CREATE TABLE ${KS}.expiring (id int PRIMARY KEY, v text, w text) WITH default_time_to_live = 864000`,
  `CREATE TABLE ${KS}.wide (pk int, ck int, s text static, v text, PRIMARY KEY (pk, ck))`,
  `CREATE TABLE ${KS}.hits (id int PRIMARY KEY, n counter)`,
];

let folder: string;
let command: MigrationCommand;
let origin: Client;
let target: Client;

/** Statements over few rows and few timestamps, so that ties and shadowing happen. */
function randomStatement(random: (below: number) => number, baseMicros: number): string {
  const at = baseMicros + random(12);
  const ttl = random(3) === 0 ? ` AND TTL ${100_000 + random(3)}` : ' AND TTL 0';
  const using = `USING TIMESTAMP ${at}`;
  const pk = `a = 'a${random(6)}' AND b = ${random(3) - 1}`;
  const row = `${pk} AND c1 = ${random(7) - 3} AND c2 = '${['', 'x', 'yy'][random(3)]}'`;
  const word = () => `'w${random(4)}'`;
  const settings = [
    `v = ${word()}`,
    `n = ${random(5)}`,
    'v = null',
    `tags = {${word()}, ${word()}}`,
    `tags = tags + {${word()}}`,
    `tags = tags - {${word()}}`,
    `attrs = {${word()}: ${random(9)}}`,
    `attrs = attrs + {${word()}: ${random(9)}}`,
    `attrs[${word()}] = null`,
    'attrs = null',
    `l = [${word()}, ${word()}]`,
    `l = l + [${word()}]`,
    `addr = {street: ${word()}, zip: ${random(9)}}`,
    `addr.zip = ${random(9)}`,
    'addr.street = null',
    `faddr = {street: ${word()}}`,
    `v = '', n = ${random(5)}`,
  ];
  const values = row.split(' AND ').map((part) => part.split(' = '));
  switch (random(13)) {
    case 0:
      return `DELETE FROM ${KS}.items ${using} WHERE ${row}`;
    case 1:
      return `DELETE FROM ${KS}.items ${using} WHERE ${pk} AND c1 >= ${random(4) - 3} AND c1 < ${random(4)}`;
    case 2:
      return `DELETE FROM ${KS}.items ${using} WHERE ${pk} AND c1 = ${random(7) - 3} AND c2 > 'a'`;
    case 3:
      return random(4) === 0
        ? `DELETE FROM ${KS}.items ${using} WHERE ${pk}`
        : `DELETE v, tags FROM ${KS}.items ${using} WHERE ${row}`;
    case 4:
      return `UPDATE ${KS}.items ${using}${ttl} SET s = ${word()}, seen = seen + {${random(4)}} WHERE ${pk}`;
    case 5:
      return `INSERT INTO ${KS}.expiring (id, v, w) VALUES (${random(40)}, ${word()}, null) ${using}${random(2) ? '' : ' AND TTL 0'}`;
    case 6:
    case 7:
    case 8: {
      const columns = values.map(([name]) => name).join(', ');
      return `INSERT INTO ${KS}.items (${columns}, v, attrs) VALUES (${values.map(([, value]) => value).join(', ')}, ${word()}, {${word()}: 1}) ${using}${ttl}`;
    }
    default:
      return `UPDATE ${KS}.items ${using}${ttl} SET ${settings[random(settings.length)]} WHERE ${row}`;
  }
}

/** One partition of 10 MB beside small ones, with range deletions: a plan cuts it into slices. */
async function fillWidePartition(baseMicros: number): Promise<void> {
  const insert = `INSERT INTO ${KS}.wide (pk, ck, v) VALUES (?, ?, ?) USING TIMESTAMP ?`;
  const value = 'x'.repeat(2000);
  for (let ck = 0; ck < 5000; ck += 100) {
    const rows = Array.from({ length: 100 }, (_, index) => [
      1,
      ck + index,
      `${ck + index}${value}`,
      baseMicros + index,
    ]);
    await Promise.all(rows.map((row) => origin.execute(insert, row, { prepare: true })));
  }
  for (let pk = 2; pk < 20; pk++) await origin.execute(insert, [pk, pk, 'small', baseMicros], { prepare: true });
  // A memtable would drop the rows that are deleted in it.
  await nodetool(testEnvironment.origin, 'flush', KS);
  const using = `USING TIMESTAMP ${baseMicros + 50}`;
  await origin.execute(`UPDATE ${KS}.wide ${using} SET s = 'static' WHERE pk = 1`);
  await origin.execute(`DELETE FROM ${KS}.wide USING TIMESTAMP ${baseMicros + 5} WHERE pk = 1`);
  await origin.execute(`DELETE FROM ${KS}.wide ${using} WHERE pk = 1 AND ck >= 800 AND ck < 3300`);
  await origin.execute(
    `DELETE FROM ${KS}.wide USING TIMESTAMP ${baseMicros + 80} WHERE pk = 1 AND ck > 3000 AND ck <= 4600`,
  );
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-load-'));
  const environment = readTestEnvironment();
  command = new MigrationCommand(folder, environment.origin, environment.target);
  origin = await connectToTestCluster('origin');
  target = await connectToTestCluster('target');
  // A table of the same name that was dropped: its snapshot outlives it, under the same tag.
  await recreateKeyspace(origin, KS);
  for (const statement of ITEMS) await origin.execute(statement);
  await origin.execute(`INSERT INTO ${KS}.items (a, b, c1, c2, l) VALUES ('dropped', 0, 0, 'x', ['zombie'])`);
  await takeSnapshot(testEnvironment.origin, TAG, KS);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, KS);
    for (const statement of ITEMS) await client.execute(statement);
  }
  const seeded = new Random(20_260_101);
  const random = (below: number) => seeded.below(below);
  const baseMicros = (Date.now() - 3_600_000) * 1000;
  await fillWidePartition(baseMicros);
  for (let flush = 0; flush < 4; flush++) {
    for (let i = 0; i < 400; i++) await origin.execute(randomStatement(random, baseMicros));
    for (let id = 0; id < 20; id++) await origin.execute(`UPDATE ${KS}.hits SET n = n + 1 WHERE id = ${id}`);
    // Both have to be gone by the time of the load.
    await origin.execute(
      `INSERT INTO ${KS}.items (a, b, c1, c2, v) VALUES ('gone', ${flush}, 0, 'x', 'y') USING TTL 1`,
    );
    await nodetool(testEnvironment.origin, 'flush', KS);
  }
  await takeSnapshot(testEnvironment.origin, TAG, KS);
});

afterAll(async () => {
  for (const client of [origin, target]) {
    await client?.execute(`DROP KEYSPACE IF EXISTS ${KS}`);
    await client?.shutdown();
  }
  rmSync(folder, { recursive: true, force: true });
});

/** All rows of a table as texts; the write times and TTLs of simple columns beside them. */
async function rowsOf(client: Client, table: string, columns: string, simple: readonly string[]): Promise<string[]> {
  const extra = simple.flatMap((name) => [`WRITETIME(${name}) AS wt_${name}`, `TTL(${name}) AS ttl_${name}`]);
  const { rows } = await client.execute(`SELECT ${[columns, ...extra].join(', ')} FROM ${KS}.${table}`, [], {
    fetchSize: 5000,
    prepare: true,
  });
  return rows
    .map((row) =>
      JSON.stringify(
        Object.fromEntries(
          row.keys().map((key) => {
            const value: unknown = row[key];
            // Read some seconds apart.
            return [key, key.startsWith('ttl_') && value !== null ? 'expires' : value];
          }),
        ),
        (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
      ),
    )
    .sort();
}

/** What a table's files hold after a merge, without lists, whose cells have other ids and times. */
async function mergedFiles(side: 'origin' | 'target', schema: TableSchema): Promise<string[]> {
  await nodetool(testEnvironment[side], 'flush', KS);
  const files = await listSSTables(tableFolder(testEnvironment[side], KS, schema.table));
  const columns = { static: schema.staticColumns, regular: schema.regularColumns };
  const inputs = [];
  for (const each of files) inputs.push({ cursor: openPartitionCursor(await openSSTable(each), { columns }) });
  const merged = mergePartitions(inputs, schema);
  const lines: string[] = [];
  let key = '';
  for (;;) {
    const event = merged.next();
    if (event === undefined) {
      if (!(await merged.fill())) return lines.sort();
      continue;
    }
    if (event.kind === 'partition') key = Buffer.from(event.key).toString('hex');
    lines.push(...linesOf(event).map((line) => `${key} ${line}`));
  }

  function linesOf(event: PartitionEvent): string[] {
    if (event.kind === 'partition') return event.deletion ? [`partition ${show(event.deletion)}`] : [];
    if (event.kind !== 'row') return [];
    const place = event.isStatic
      ? 'static'
      : event.clustering
          .values()
          .map((value) => Buffer.from(value ?? '').toString('hex'))
          .join('/');
    const names = event.isStatic ? schema.staticColumns : schema.regularColumns;
    return [
      ...(event.liveness ? [`${place} marker ${show(event.liveness)}`] : []),
      ...(event.deletion ? [`${place} deleted ${show(event.deletion)}`] : []),
      ...event.cells.map((cell) => `${place} ${names[cell.column]!.name} ${show(partsOf(cell))}`),
      ...event.multiCells.flatMap(({ column, deletion, cells }) => {
        const { name, type } = names[column]!;
        if (type.kind === 'list') return [];
        return [
          ...(deletion ? [`${place} ${name} deleted ${show(deletion)}`] : []),
          ...cells.map((cell) => `${place} ${name} ${show(partsOf(cell))}`),
        ];
      }),
    ];
  }
}

/** What a cell is, wherever its bytes lie. */
function partsOf({ timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value, path }: Cell): object {
  return { timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value, path };
}

function show(value: object): string {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'bigint' ? String(item) : item instanceof Uint8Array ? Buffer.from(item).toString('hex') : item,
  );
}

test('a snapshot is shipped, checked and loaded, and the target holds what the origin holds', async () => {
  const place = join(folder, 'snapshots');
  const data = join(testEnvironment.origin.folder, 'data');
  const shipped = await command.run('snapshot', 'upload', data, '--tag', TAG, '--keyspace', KS, '--to', place);
  expect(shipped.stderr + JSON.stringify(shipped.json)).toContain('takenAt');
  expect(shipped.json['takenAt']).not.toBeNull();
  expect(shipped.stderr).toContain('folders of dropped tables are left out');
  const again = await command.run('snapshot', 'upload', data, '--tag', TAG, '--keyspace', KS, '--to', place);
  expect(again.json['skipped']).toBe(again.json['files']);
  expect((await command.run('snapshot', 'verify', place)).json['faults']).toEqual([]);

  const early = await command.run('load', 'start', '--keyspace', KS, '--snapshot', place, '--local');
  expect(early.stderr).toContain('no dual writes are in force');

  const loaded = await command.startLoad(KS, place);
  expect(loaded.stderr).not.toContain('failed');
  expect(loaded.json['status']).toBe('done');

  const values = 'a, b, c1, c2, s, seen, v, n, tags, attrs, l, addr, faddr';
  expect(await rowsOf(target, 'items', values, ['s', 'v', 'n', 'faddr'])).toEqual(
    await rowsOf(origin, 'items', values, ['s', 'v', 'n', 'faddr']),
  );
  expect(await rowsOf(target, 'expiring', 'id, v, w', ['v', 'w'])).toEqual(
    await rowsOf(origin, 'expiring', 'id, v, w', ['v', 'w']),
  );
  expect(await rowsOf(target, 'wide', 'pk, ck, s, v', ['s', 'v'])).toEqual(
    await rowsOf(origin, 'wide', 'pk, ck, s, v', ['s', 'v']),
  );
  const plan = JSON.parse(await readFile(findFile(folder, /runs.*plan\.json$/), 'utf8')) as LoadItem[];
  expect(plan.filter(({ table, slice }) => table === 'wide' && slice !== undefined).length).toBeGreaterThan(2);
  // Counters are named as left out, and nothing of them is written.
  expect((await target.execute(`SELECT * FROM ${KS}.hits`)).rowLength).toBe(0);
});

test('markers, tombstones, write times and expiries are the same in the files of both', async () => {
  const [items] = await readSchema(origin, KS, ['items']);
  const [expiring] = await readSchema(origin, KS, ['expiring']);
  const [wide] = await readSchema(origin, KS, ['wide']);
  expect(await mergedFiles('target', wide!)).toEqual(await mergedFiles('origin', wide!));
  expect(await mergedFiles('target', expiring!)).toEqual(await mergedFiles('origin', expiring!));
  expect(await mergedFiles('target', items!)).toEqual(await mergedFiles('origin', items!));
});

test('loading the same snapshot again changes nothing, lists included', async () => {
  const before = await rowsOf(target, 'items', 'a, b, c1, c2, v, l, tags, attrs', ['v']);
  const loaded = await command.startLoad(KS, join(folder, 'snapshots'));
  expect(loaded.json['status']).toBe('done');
  expect(await rowsOf(target, 'items', 'a, b, c1, c2, v, l, tags, attrs', ['v'])).toEqual(before);
});

test('a flipped byte in Data.db fails its range with file and offset, and the table is not called loaded', async () => {
  const place = join(folder, 'snapshots');
  const file = findFile(place, /expiring-.*-Data\.db$/);
  const bytes = await readFile(file);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = bytes[at]! ^ 0x20;
  await writeFile(file, bytes);
  const loaded = await command.startLoad(KS, place);
  expect(loaded.code).toBe(1);
  expect(loaded.json['status']).toBe('failed');
  const [failed] = loaded.json['failed'] as { table: string; error: { name: string; message: string } }[];
  expect(failed?.table).toBe('expiring');
  expect(failed?.error.name).toBe('SSTableCorruptError');
  expect(failed?.error.message).toMatch(/Data\.db, offset \d+/);
  const status = await command.run('load', 'status');
  const states = status.json['tables'] as { table: string; state: string }[];
  expect(states.find(({ table }) => table === 'items')?.state).toBe('loaded');
  expect(states.find(({ table }) => table === 'expiring')?.state).not.toBe('loaded');
});

test('a missing component is named and nothing is started', async () => {
  const place = join(folder, 'snapshots');
  const file = findFile(place, /items-.*-Statistics\.db$/);
  rmSync(file);
  const loaded = await command.startLoad(KS, place);
  expect(loaded.code).toBe(1);
  expect(loaded.stderr).toContain('Statistics.db is missing');
});

function findFile(directory: string, pattern: RegExp): string {
  const found = readdirSync(directory, { recursive: true, encoding: 'utf8' }).find((name) => pattern.test(name));
  if (found === undefined) throw new Error(`no ${pattern} below ${directory}`);
  return join(directory, found);
}
