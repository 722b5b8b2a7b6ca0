/** Keyspaces, definitions, what the driver knows of them and when it hears of changes. */
import type { Client } from 'cassandra-driver';
import { check, checkProxy, columnsOf, eventually, keyspace, rowsOf, same, textsOf, withClient } from './checks.ts';

const PREPARE = { prepare: true } as const;

async function columnNames(client: Client, table: string): Promise<string[] | undefined> {
  const found = await client.metadata.getTable(keyspace, table);
  return found?.columns.map((column) => column.name).sort();
}

export async function schemaChecks(client: Client): Promise<void> {
  await check('describes keyspace, tables and types', async () => {
    const seen: unknown[] = [];
    for (const name of ['kinds', 'rows_of', 'counts', 'lwt_items']) {
      const table = await client.metadata.getTable(keyspace, name);
      const keys = [...table!.partitionKeys, ...table!.clusteringKeys].map((column) => column.name);
      seen.push([keys, table!.columns.map((column) => [column.name, column.type.code])]);
    }
    const type = await client.metadata.getUdt(keyspace, 'address');
    seen.push(type!.fields.map((field) => [field.name, field.type.code]));
    return seen;
  });

  await check('knows what it has just defined', async () => {
    await client.execute('CREATE TABLE defined (id int PRIMARY KEY, v text)');
    same(await columnNames(client, 'defined'), ['id', 'v']);
    await client.execute('CREATE INDEX defined_v ON defined (v)');
    await client.execute('ALTER TABLE defined ADD more set<text>');
    await eventually('the column is known', async () => (await columnNames(client, 'defined'))?.length === 3);
    await client.execute('DROP TABLE defined');
    await eventually('the table is gone', async () => (await columnNames(client, 'defined')) === undefined);
    return true;
  });

  await check('hears of definitions by another session', async () => {
    return withClient({}, async (other) => {
      await other.execute('CREATE TABLE elsewhere (id int PRIMARY KEY, v text)');
      await eventually('the table is known', async () => (await columnNames(client, 'elsewhere'))?.length === 2);
      await other.execute('ALTER TABLE elsewhere ADD w text');
      await eventually('the column is known', async () => (await columnNames(client, 'elsewhere'))?.length === 3);
      await other.execute(
        `CREATE KEYSPACE IF NOT EXISTS ${keyspace}_new WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
      );
      const keyspaces = client.metadata.keyspaces as Record<string, unknown>;
      await eventually('the keyspace is known', async () => keyspaces[`${keyspace}_new`] !== undefined);
      await other.execute(`DROP KEYSPACE ${keyspace}_new`);
      await eventually('the keyspace is gone', async () => keyspaces[`${keyspace}_new`] === undefined);
      return true;
    });
  });

  await checkProxy('uses what it has just defined, again and again', async () => {
    for (let round = 0; round < 30; round++) {
      await client.execute(`CREATE TABLE at_once_${round} (id int PRIMARY KEY, v text)`);
      await client.execute(`INSERT INTO at_once_${round} (id, v) VALUES (?, ?)`, [round, 'used'], PREPARE);
      same(await rowsOf(client, `SELECT v FROM at_once_${round}`), ['["used"]']);
    }
    return true;
  });

  await check('follows a change of a table with prepared statements', async () => {
    const insert = 'INSERT INTO changing (id, v) VALUES (?, ?)';
    const select = 'SELECT id, v FROM changing';
    await client.execute('CREATE TABLE changing (id int PRIMARY KEY, v text)');
    await client.execute(insert, [1, 'before'], PREPARE);
    const seen = [textsOf(await client.execute(select, [], PREPARE))];
    await client.execute('ALTER TABLE changing ADD a text');
    await client.execute(insert, [2, 'after'], PREPARE);
    await withClient({}, async (other) => {
      await other.execute('ALTER TABLE changing ADD b int');
      await other.execute('UPDATE changing SET b = 7 WHERE id = 1');
    });
    await client.execute(insert, [3, 'last'], PREPARE);
    seen.push(textsOf(await client.execute(select, [], PREPARE)));
    const all = await client.execute('SELECT * FROM changing', [], PREPARE);
    return [...seen, textsOf(all), columnsOf(all)];
  });

  await check('works on after a table was dropped and made again', async () => {
    const insert = 'INSERT INTO remade (id, v) VALUES (?, ?)';
    await client.execute('CREATE TABLE remade (id int PRIMARY KEY, v text)');
    await client.execute(insert, [1, 'first'], PREPARE);
    await client.execute('DROP TABLE remade');
    await client.execute('CREATE TABLE remade (id int PRIMARY KEY, v text)');
    await client.execute(insert, [2, 'second'], PREPARE);
    await client.execute('TRUNCATE remade');
    await client.execute(insert, [4, 'fourth'], PREPARE);
    return rowsOf(client, 'SELECT * FROM remade');
  });

  await check('keeps the keyspaces of sessions apart', async () => {
    const insert = 'INSERT INTO same_name (id, v) VALUES (?, ?)';
    return withClient({ keyspace: `${keyspace}_2` }, (second) =>
      withClient({ keyspace: undefined }, async (none) => {
        for (const one of [client, second]) await one.execute('CREATE TABLE same_name (id int PRIMARY KEY, v text)');
        await client.execute(insert, [1, 'first keyspace'], PREPARE);
        await second.execute(insert, [2, 'second keyspace'], PREPARE);
        await none.execute(`USE ${keyspace}_2`);
        await none.execute(insert, [3, 'after USE'], PREPARE);
        await none.execute(`USE ${keyspace}`);
        await none.execute("INSERT INTO same_name (id, v) VALUES (4, 'after another USE')");
        const query = 'SELECT * FROM same_name';
        return [none.keyspace, await rowsOf(client, query), await rowsOf(second, query)];
      }),
    );
  });

  await check('takes quoted names', async () => {
    await client.execute('CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, "now()" text)');
    await client.execute('INSERT INTO "MixedCase" ("Id", "now()") VALUES (?, ?)', [1, 'x'], PREPARE);
    return rowsOf(client, 'SELECT * FROM "MixedCase"');
  });
}
