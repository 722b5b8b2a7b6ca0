/**
 * What the live application does. Each operation remembers what it wrote, and later reads compare with that: a client
 * must read its own writes through every phase. Keys are taken one at a time, so an answer has one right value.
 */
import { type Client, types } from 'cassandra-driver';
import { uuidOf } from './identity.ts';
import type { Statistics } from './statistics.ts';
import { amounts, insertAsset, insertChunk, insertFile, insertTask } from './tables.ts';

/** Expected contents by key; undefined as value: the row was deleted. */
class Memory {
  readonly #values = new Map<string, string | undefined>();
  readonly #busy = new Set<string>();
  readonly #keys: string[] = [];

  /** Runs `work` unless the key is in use; `work` resolves to what the key holds afterwards. */
  async change(key: string, work: () => Promise<string | undefined>): Promise<void> {
    if (this.#busy.has(key)) return;
    this.#busy.add(key);
    try {
      const value = await work();
      if (!this.#values.has(key)) this.#keys.push(key);
      this.#values.set(key, value);
    } finally {
      this.#busy.delete(key);
    }
  }

  async check(random: number, work: (key: string, expected: string | undefined) => Promise<void>): Promise<void> {
    const key = this.#keys[Math.floor(random * this.#keys.length)];
    if (key === undefined || this.#busy.has(key)) return;
    this.#busy.add(key);
    try {
      await work(key, this.#values.get(key));
    } finally {
      this.#busy.delete(key);
    }
  }
}

export type Operation = (n: number) => Promise<void>;

class Session {
  readonly #client: Client;
  readonly #statistics: Statistics;

  constructor(client: Client, statistics: Statistics) {
    this.#client = client;
    this.#statistics = statistics;
  }

  async write(query: string, params: readonly unknown[]): Promise<void> {
    await this.#client.execute(query, [...params], { prepare: true });
    this.#statistics.writes++;
  }

  async batch(queries: readonly { query: string; params: unknown[] }[]): Promise<void> {
    await this.#client.batch([...queries], { prepare: true, logged: false });
    this.#statistics.writes++;
  }

  async expect(query: string, params: readonly unknown[], column: string, expected: string | undefined): Promise<void> {
    const result = await this.#client.execute(query, [...params], { prepare: true });
    const found: unknown = result.first()?.[column];
    const text = found === undefined || found === null ? undefined : String(found);
    this.#statistics.reads++;
    this.#statistics.checks++;
    if (text !== expected) {
      const key = params.map(String).join(', ');
      this.#statistics.error(`read ${text ?? 'nothing'} where ${expected ?? 'nothing'} was written: ${query} (${key})`);
    }
  }
}

const uuid = (text: string): types.Uuid => types.Uuid.fromString(text);

/** The main client: media assets, chunks, files and the showcase. */
export function mainOperations(client: Client, statistics: Statistics, random: () => number): Operation[] {
  const session = new Session(client, statistics);
  const assets = new Memory();
  const chunks = new Memory();
  const files = new Memory();
  const anyAsset = (): string => uuidOf('asset', Math.floor(random() * amounts.assets));
  const readAsset = 'SELECT status FROM iconik_production.media_assets WHERE id = ?';
  const readFile = 'SELECT name, size, status FROM files_keyspace.files WHERE system_domain_id = ? AND id = ?';
  const readChunk = 'SELECT checksum FROM iconik_production.media_chunks WHERE asset_id = ? AND chunk_number = ?';
  return [
    (n) =>
      assets.change(uuidOf('live-asset', n), async () => {
        const id = uuid(uuidOf('live-asset', n));
        await session.write(insertAsset, [id, `Live ${n}`, 'video', n % 100, 'av1', n, 'uploaded', new Date()]);
        return 'uploaded';
      }),
    // Rows of the seed are changed while the bulk load brings their old values: the new ones must stay.
    (n) => {
      const key = anyAsset();
      return assets.change(key, async () => {
        const status = `revision ${n}`;
        const update = 'UPDATE iconik_production.media_assets SET status = ? WHERE id = ?';
        await session.write(update, [status, uuid(key)]);
        return status;
      });
    },
    () => assets.check(random(), (key, expected) => session.expect(readAsset, [uuid(key)], 'status', expected)),
    // Rows of the seed are deleted while the bulk load brings them: they must not come back.
    () => {
      const key = `${uuidOf('asset', Math.floor(random() * amounts.chunkedAssets))} ${Math.floor(random() * 100)}`;
      return chunks.change(key, async () => {
        const [id = '', number] = key.split(' ');
        const remove = 'DELETE FROM iconik_production.media_chunks WHERE asset_id = ? AND chunk_number = ?';
        await session.write(remove, [uuid(id), Number(number)]);
        return undefined;
      });
    },
    () =>
      chunks.check(random(), (key, expected) => {
        const [id = '', number] = key.split(' ');
        return session.expect(readChunk, [uuid(id), Number(number)], 'checksum', expected);
      }),
    async (n) => {
      const id = uuid(uuidOf('live-chunked', n));
      const queries = Array.from({ length: 10 }, (_, index) => ({
        query: insertChunk,
        params: [id, index, `sum-${n}-${index}`, 1_048_576, `s3://media/live/${n}/${index}`],
      }));
      await session.batch(queries);
    },
    (n) => {
      const domain = uuidOf('domain', n % amounts.fileDomains);
      const id = uuidOf('live-file', n);
      return files.change(`${domain} ${id}`, async () => {
        await session.write(insertFile, [uuid(domain), uuid(id), `live-${n}.mov`, n, 'NEW']);
        const update = 'UPDATE files_keyspace.files SET status = ? WHERE system_domain_id = ? AND id = ?';
        await session.write(update, ['READY', uuid(domain), uuid(id)]);
        return 'READY';
      });
    },
    () =>
      files.check(random(), (key, expected) => session.expect(readFile, key.split(' ').map(uuid), 'status', expected)),
    async (n) => {
      const place = [`account-${n % amounts.accounts}`, 11 + (n % 9)];
      const update = `UPDATE iconik_production.showcase SET tags = tags + ?, scores[?] = ?, label = ?
        WHERE account = ? AND item = ?`;
      await session.write(update, [[`live-${n % 5}`], 'live', n, `label ${n}`, ...place]);
    },
  ];
}

/** The second client, whose driver sends no timestamps: they come from the proxy. */
export function secondOperations(client: Client, statistics: Statistics, random: () => number): Operation[] {
  const session = new Session(client, statistics);
  const tasks = new Memory();
  const write = (key: string, task: string): Promise<void> =>
    tasks.change(key, async () => {
      await session.write(insertTask, [uuid(key), task]);
      return task;
    });
  return [
    (n) => write(uuidOf('live-task', n), `live task ${n}`),
    (n) => write(uuidOf('task', Math.floor(random() * amounts.tasks)), `task changed by ${n}`),
    // The same few rows again and again: two writes of one row in a moment must keep their order on both clusters.
    (n) => write(uuidOf('hot-task', n % 3), `hot task ${n}`),
    () =>
      tasks.check(random(), (key, expected) =>
        session.expect('SELECT task FROM test.tasks WHERE id = ?', [uuid(key)], 'task', expected),
      ),
    (n) =>
      tasks.change(uuidOf('task', n % amounts.tasks), async () => {
        await session.write('DELETE FROM test.tasks WHERE id = ?', [uuid(uuidOf('task', n % amounts.tasks))]);
        return undefined;
      }),
  ];
}
