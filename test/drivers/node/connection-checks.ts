/** Many requests, many connections, idle ones and broken ones. */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, type ClientOptions, types } from 'cassandra-driver';
import { ask, check, checkProxy, eventually, place, rowsOf, same, withClient } from './checks.ts';

const PREPARE = { prepare: true } as const;
const INSERT = 'INSERT INTO items (id, w) VALUES (?, ?)';
const SELECT = 'SELECT w FROM items WHERE id = ?';

function pool(size: number): Partial<ClientOptions> {
  return { pooling: { coreConnectionsPerHost: { [types.distance.local]: size }, warmup: true } };
}

function openConnections(client: Client): number {
  return client.getState().getOpenConnections(client.hosts.values()[0]!);
}

export async function connectionChecks(client: Client): Promise<void> {
  await check('speaks v3 and moves small and large values', async () => {
    await client.execute('CREATE TABLE blobs (id int PRIMARY KEY, v blob)');
    const sizes = [0, 1, 1000, 100_000, 131_071, 300_000, 1_000_000];
    const protocolOptions = { port: place.port, maxVersion: 3 };
    return withClient({ protocolOptions }, async (other) => {
      for (const [id, size] of sizes.entries()) {
        const v = randomBytes(size);
        await other.execute('INSERT INTO blobs (id, v) VALUES (?, ?)', [id, v], PREPARE);
        const read = await client.execute('SELECT v FROM blobs WHERE id = ?', [id], PREPARE);
        same(v.equals(read.first()['v']), true);
      }
      return (await other.execute('SELECT v FROM blobs', [], { fetchSize: 3 })).rowLength;
    });
  });

  await check('has 512 requests in flight on one connection', async () => {
    return withClient(pool(1), async (one) => {
      const ids = Array.from({ length: 512 }, (_, index) => 10_000 + index);
      await Promise.all(ids.map((id) => one.execute(INSERT, [id, `w${id}`], PREPARE)));
      const read = await Promise.all(ids.map((id) => one.execute(SELECT, [id], PREPARE)));
      return read.filter((result, index) => result.first()['w'] === `w${ids[index]}`).length;
    });
  });

  await check('has 200 connections', async () => {
    return withClient(pool(200), async (wide) => {
      await eventually('200 connections are open', async () => openConnections(wide) >= 200);
      const ids = Array.from({ length: 1000 }, (_, index) => 10_000 + (index % 512));
      return (await Promise.all(ids.map((id) => wide.execute(SELECT, [id], PREPARE)))).length;
    });
  });

  await check('keeps idle connections open with heartbeats', async () => {
    return withClient({ pooling: { heartBeatInterval: 300, warmup: true } }, async (idle) => {
      let closed = 0;
      idle.on('hostDown', () => closed++);
      const before = openConnections(idle);
      // It is the idling itself that is tested.
      await sleep(2000);
      same([openConnections(idle), closed], [before, 0]);
      return rowsOf(idle, SELECT, [10_000]);
    });
  });

  await checkProxy('does not notice that a cluster has forgotten a statement', async () => {
    const insert = 'INSERT INTO forgotten (id, v) VALUES (?, ?)';
    await client.execute('CREATE TABLE forgotten (id int PRIMARY KEY, v text)');
    await client.execute(insert, [1, 'known'], PREPARE);
    await ask('forget on target');
    await client.execute(insert, [2, 'forgotten by the target'], PREPARE);
    await ask('forget on origin');
    await client.execute(insert, [3, 'forgotten by the origin'], PREPARE);
    return rowsOf(client, 'SELECT v FROM forgotten WHERE id = ?', [3]);
  });

  const works = (id: number, w: string) => () =>
    client.execute(INSERT, [id, w], { ...PREPARE, isIdempotent: true }).then(Boolean, () => false);

  await checkProxy('retries what is idempotent when connections break', async () => {
    await ask('break origin');
    for (let id = 20_000; id < 20_050; id++) await eventually('the write is taken', works(id, 'kept'));
    return true;
  });

  await checkProxy('goes on after a restart of the proxy, with the statements that it has prepared', async () => {
    await ask('restart proxy');
    await eventually('a write works', works(30_000, 'after the restart'));
    const isThere = () =>
      rowsOf(client, SELECT, [30_000]).then(
        (rows) => rows[0] === '["after the restart"]',
        () => false,
      );
    await eventually('a read works', isThere);
    return true;
  });
}
