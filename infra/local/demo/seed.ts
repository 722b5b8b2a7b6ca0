/**
 * Fills the origin in three rounds, each flushed to SSTables of its own, so that the newest value of a row, its
 * deletion and its expiry lie in different files: what a bulk load must merge.
 */
import type { Client } from 'cassandra-driver';
import { uuidOf } from './identity.ts';
import { amounts, insertAsset, insertChunk, insertFile, insertShowcase, insertTask } from './tables.ts';

export interface Statement {
  readonly query: string;
  readonly params: readonly unknown[];
}

/** Statements of one partition, sent as one unlogged batch; or a single statement. */
type Work = readonly Statement[];

const DAY_SECONDS = 86_400;
const CONCURRENCY = 96;

/** Runs all work with a bounded number in flight and resolves to how many statements were written. */
export async function write(client: Client, work: Iterable<Work>, signal: AbortSignal): Promise<number> {
  const iterator = work[Symbol.iterator]();
  let written = 0;
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) {
      signal.throwIfAborted();
      const statements = next.value;
      const [first] = statements;
      if (first === undefined) continue;
      if (statements.length === 1) await client.execute(first.query, [...first.params], { prepare: true });
      else {
        const queries = statements.map(({ query, params }) => ({ query, params: [...params] }));
        await client.batch(queries, { prepare: true, logged: false });
      }
      written += statements.length;
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return written;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function asset(n: number, status: string): Statement {
  const kinds = ['video', 'audio', 'image'];
  const created = new Date(1_700_000_000_000 + n * 60_000);
  const params = [uuidOf('asset', n), `Asset ${n}`, kinds[n % 3], (n * 7) % 7200, 'h264', n % 5000, status, created];
  return { query: insertAsset, params };
}

function chunk(assetNumber: number, n: number, revision: number): Statement {
  const checksum = `${((assetNumber * 131 + n * 17 + revision) >>> 0).toString(16).padStart(16, '0')}`;
  const params = [uuidOf('asset', assetNumber), n, checksum, 1_048_576, `s3://media/${assetNumber}/${n}.${revision}`];
  return { query: insertChunk, params };
}

function file(domain: number, n: number): Statement {
  const params = [uuidOf('domain', domain), uuidOf('file', n), `file-${domain}-${n}.mov`, n * 100, 'NEW'];
  return { query: insertFile, params };
}

function showcase(account: number, item: number): Statement {
  return {
    query: insertShowcase,
    params: [
      `account-${account}`,
      item,
      `item ${item} of ${account}`,
      ['new', `group-${item % 4}`],
      { quality: item, price: account % 97 },
      ['made', `step-${item}`],
      [account, item],
      { width: item, height: account },
      { width: item * 2, height: account * 2 },
    ],
  };
}

function* inChunksOf(size: number, statements: readonly Statement[]): Generator<Work> {
  for (let at = 0; at < statements.length; at += size) yield statements.slice(at, at + size);
}

/** Everything once. */
export function* firstRound(): Generator<Work> {
  for (const n of range(amounts.assets)) yield [asset(n, 'uploaded')];
  for (const n of range(amounts.chunkedAssets)) {
    yield* inChunksOf(
      50,
      range(amounts.chunksPerAsset).map((index) => chunk(n, index, 1)),
    );
  }
  for (const domain of range(amounts.fileDomains)) {
    yield* inChunksOf(
      50,
      range(amounts.filesPerDomain).map((n) => file(domain, n)),
    );
  }
  for (const n of range(amounts.tasks)) yield [{ query: insertTask, params: [uuidOf('task', n), `task ${n}`] }];
  for (const n of range(amounts.accounts)) {
    yield range(amounts.itemsPerAccount).map((item) => showcase(n, item));
    const owner = 'INSERT INTO iconik_production.showcase (account, owner) VALUES (?, ?)';
    yield [{ query: owner, params: [`account-${n}`, `owner ${n}`] }];
  }
}

/** Overwrites, expiring values, and a deletion of every kind: cell, row, range, partition, element. */
export function* secondRound(): Generator<Work> {
  for (const n of range(amounts.assets)) {
    if (n % 10 === 0) yield [asset(n, 'transcoded')];
    if (n % 100 === 1) yield [{ ...asset(n, 'expiring'), query: `${insertAsset} USING TTL ${3 * DAY_SECONDS}` }];
    if (n % 100 === 2) {
      yield [{ query: 'DELETE FROM iconik_production.media_assets WHERE id = ?', params: [uuidOf('asset', n)] }];
    }
    if (n % 100 === 3) {
      yield [{ query: 'DELETE title FROM iconik_production.media_assets WHERE id = ?', params: [uuidOf('asset', n)] }];
    }
  }
  const chunks = 'DELETE FROM iconik_production.media_chunks WHERE asset_id = ?';
  for (const n of range(amounts.chunkedAssets)) {
    const id = uuidOf('asset', n);
    if (n % 10 === 0) yield range(50).map((index) => chunk(n, index * 2, 2));
    if (n % 50 === 7) yield [{ query: chunks, params: [id] }];
    if (n % 20 === 3) yield [{ query: `${chunks} AND chunk_number >= ? AND chunk_number < ?`, params: [id, 90, 95] }];
  }
  for (const domain of range(amounts.fileDomains)) {
    const update = 'UPDATE files_keyspace.files SET status = ? WHERE system_domain_id = ? AND id = ?';
    yield range(10).map((n) => ({
      query: update,
      params: ['READY', uuidOf('domain', domain), uuidOf('file', n * 10)],
    }));
  }
  for (const n of range(amounts.tasks)) {
    if (n % 10 === 4) yield [{ query: 'DELETE FROM test.tasks WHERE id = ?', params: [uuidOf('task', n)] }];
  }
  yield* showcaseChanges();
}

function* showcaseChanges(): Generator<Work> {
  const where = 'WHERE account = ? AND item = ?';
  const update = 'UPDATE iconik_production.showcase';
  for (const n of range(amounts.accounts)) {
    const account = `account-${n}`;
    yield [
      { query: `${update} SET tags = tags + ? ${where}`, params: [['added'], account, 1] },
      { query: `${update} SET tags = tags - ? ${where}`, params: [['new'], account, 2] },
      { query: `${update} SET scores = scores + ? ${where}`, params: [{ extra: n }, account, 3] },
      { query: `DELETE scores['price'] FROM iconik_production.showcase ${where}`, params: [account, 4] },
      { query: `${update} SET history = history + ? ${where}`, params: [['appended'], account, 5] },
      { query: `${update} SET shape.width = ? ${where}`, params: [n, account, 6] },
      { query: `${update} USING TTL ${DAY_SECONDS} SET tags = tags + ? ${where}`, params: [['brief'], account, 7] },
      { query: `${update} SET tags = ? ${where}`, params: [['replaced'], account, 8] },
      { query: `DELETE label, tags FROM iconik_production.showcase ${where}`, params: [account, 9] },
      { query: `DELETE FROM iconik_production.showcase ${where}`, params: [account, 10] },
    ];
  }
}

/** Changes on top of the second round: written again after deletion, deleted after change, gone within minutes. */
export function* thirdRound(): Generator<Work> {
  for (const n of range(amounts.assets)) {
    if (n % 200 === 2) yield [asset(n, 'restored')];
    if (n % 100 === 5) {
      const update = `UPDATE iconik_production.media_assets USING TTL ${DAY_SECONDS} SET status = ? WHERE id = ?`;
      yield [{ query: update, params: ['on sale', uuidOf('asset', n)] }];
    }
  }
  for (const n of range(amounts.chunkedAssets)) {
    if (n % 100 === 7) yield range(10).map((index) => chunk(n, index, 3));
  }
  for (const n of range(200)) {
    yield [{ query: `${insertTask} USING TTL 90`, params: [uuidOf('brief-task', n), `gone in 90 seconds ${n}`] }];
  }
  for (const n of range(amounts.accounts)) {
    const account = `account-${n}`;
    const owner = 'UPDATE iconik_production.showcase SET owner = ? WHERE account = ?';
    if (n % 3 === 0) yield [{ query: owner, params: [`new owner ${n}`, account] }];
    if (n % 25 === 0) yield [{ query: 'DELETE FROM iconik_production.showcase WHERE account = ?', params: [account] }];
    if (n % 7 === 0) {
      const item = 'UPDATE iconik_production.showcase SET scores[?] = ? WHERE account = ? AND item = ?';
      yield [{ query: item, params: ['late', n, account, 100] }];
    }
  }
}
