/** The ledger in a keyspace of Cassandra or ScyllaDB, changed by lightweight transactions. */
import { randomUUID } from 'node:crypto';
import { ErrorCode } from '#core/cql/protocol.ts';
import { decodeText, decodeUuid, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import {
  ClusterUnreachableError,
  describeError,
  LedgerConflictError,
  LedgerUnavailableError,
  PrerequisiteError,
  RequestTimeoutError,
  ServerError,
} from '#core/errors.ts';
import { readEntries } from '#core/ledger/read-entries.ts';
import { type BoundValue, Consistency, type ConsistencyName, type ResultPage } from '#core/model/cql-request.ts';
import type { CqlSession, LedgerStore, RequestOptions, Versioned } from '#core/ports.ts';
import { LedgerKeys } from './ledger-keys.ts';

/** Of one value. A row is far from what a node takes in one mutation then. */
const MAX_VALUE_BYTES = 1024 * 1024;
/** A change of which nobody said whether it took effect is asked for again; each time the answer can be told apart. */
const MAX_ATTEMPTS = 5;
/** An overwrite that others come before each time. */
const MAX_CONFLICTS = 20;

export interface CassandraLedgerOptions {
  readonly openSession: () => Promise<CqlSession>;
  readonly keyspace: string;
  /** Of the lightweight transactions. */
  readonly serial: 'SERIAL' | 'LOCAL_SERIAL';
  /** Of their commits and of reads: together they must meet in a replica. */
  readonly consistency: ConsistencyName;
}

/** The statements that an administrator runs once; `ringshift state init` does. */
export function ledgerTables(keyspace: string, replication: string | null): readonly string[] {
  return [
    ...(replication === null ? [] : [`CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = ${replication}`]),
    `CREATE TABLE IF NOT EXISTS ${keyspace}.ledger_records (key text PRIMARY KEY, value text, version uuid)`,
    `CREATE TABLE IF NOT EXISTS ${keyspace}.ledger_keys (scope text, key text, known boolean, PRIMARY KEY (scope, key))`,
  ];
}

/** Every record is a partition of its own, so that changes of different records do not wait for each other. */
export function createCassandraLedgerStore(options: CassandraLedgerOptions): LedgerStore {
  const store = new CassandraLedgerStore(options);
  return {
    get: (key) => store.get(key),
    has: async (key) => (await store.get(key)) !== undefined,
    put: (key, value, expectedVersion) => store.put(key, value, expectedVersion),
    list: (prefix) => store.list(prefix),
    entries: (prefix) => store.entries(prefix),
    remove: (key, expectedVersion) => store.remove(key, expectedVersion),
    close: () => store.close(),
  };
}

class CassandraLedgerStore {
  readonly #options: CassandraLedgerOptions;
  readonly #records: string;
  readonly #keys: LedgerKeys;
  #session: Promise<CqlSession> | undefined;

  constructor(options: CassandraLedgerOptions) {
    this.#options = options;
    this.#records = `${options.keyspace}.ledger_records`;
    this.#keys = new LedgerKeys(options.keyspace, (...request) => this.#run(...request));
  }

  async get(key: string): Promise<Versioned | undefined> {
    return this.#read(key, this.#options.consistency);
  }

  async *entries(prefix: string): AsyncGenerator<{ key: string } & Versioned, void> {
    const unused: string[] = [];
    const get = async (key: string): Promise<Versioned | undefined> => {
      const found = await this.get(key);
      if (found === undefined) unused.push(key);
      return found;
    };
    yield* readEntries(this.#keys.list(prefix), get);
    await this.#keys.forget(unused);
  }

  async *list(prefix: string): AsyncGenerator<string, void> {
    for await (const { key } of this.entries(prefix)) yield key;
  }

  async put(key: string, value: string, expectedVersion: string | null | undefined): Promise<string> {
    if (Buffer.byteLength(value) > MAX_VALUE_BYTES) {
      throw new LedgerUnavailableError(`the ledger's record ${key} is larger than ${MAX_VALUE_BYTES} bytes`, {
        context: { key },
      });
    }
    if (expectedVersion !== undefined) return this.#putOver(key, value, expectedVersion);
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#putOver(key, value, (await this.get(key))?.version ?? null);
      } catch (error) {
        if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
      }
    }
  }

  async remove(key: string, expectedVersion: string | undefined): Promise<void> {
    const [condition, values] =
      expectedVersion === undefined ? ['EXISTS', []] : ['version = ?', [encodeUuid(expectedVersion)]];
    const text = `DELETE FROM ${this.#records} WHERE key = ? IF ${condition}`;
    const isSettled = async (): Promise<boolean> => (await this.#read(key, this.#options.serial)) === undefined;
    const answer = await this.#change(key, text, [encodeText(key), ...values], isSettled);
    if (answer !== 'conflict' || expectedVersion === undefined) return;
    throw conflictOf(key);
  }

  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    await session?.close();
  }

  /** @param expected null: there must be none */
  async #putOver(key: string, value: string, expected: string | null): Promise<string> {
    const version = randomUUID();
    const isSettled = async (): Promise<boolean> => (await this.#read(key, this.#options.serial))?.version === version;
    let answer: 'applied' | 'conflict';
    if (expected === null) {
      await this.#keys.add(key);
      const text = `INSERT INTO ${this.#records} (key, value, version) VALUES (?, ?, ?) IF NOT EXISTS`;
      answer = await this.#change(key, text, [encodeText(key), encodeText(value), encodeUuid(version)], isSettled);
    } else {
      const text = `UPDATE ${this.#records} SET value = ?, version = ? WHERE key = ? IF version = ?`;
      const values = [encodeText(value), encodeUuid(version), encodeText(key), encodeUuid(expected)];
      answer = await this.#change(key, text, values, isSettled);
    }
    if (answer === 'conflict') throw conflictOf(key);
    return version;
  }

  /**
   * Runs one lightweight transaction to a clear end. Of one that nobody answered it is asked whether it took effect; if not
   * (yet), it is run again: at most one of them finds its condition fulfilled.
   */
  async #change(
    key: string,
    text: string,
    values: readonly BoundValue[],
    isSettled: () => Promise<boolean>,
  ): Promise<'applied' | 'conflict'> {
    for (let attempt = 1; ; attempt++) {
      try {
        const page = await this.#run(text, values, {
          consistency: Consistency[this.#options.consistency],
          serialConsistency: Consistency[this.#options.serial],
          routingKey: encodeText(key),
          idempotent: false,
        });
        if (page.rows[0]?.[0]?.[0] === 1) return 'applied';
        // What an attempt before it has left is no one else's.
        return attempt > 1 && (await isSettled()) ? 'applied' : 'conflict';
      } catch (error) {
        if (!isUnknown(error) || attempt >= MAX_ATTEMPTS) throw unavailableOf(key, error);
        if (await isSettled()) return 'applied';
      }
    }
  }

  async #read(key: string, consistency: ConsistencyName): Promise<Versioned | undefined> {
    try {
      const page = await this.#run(`SELECT value, version FROM ${this.#records} WHERE key = ?`, [encodeText(key)], {
        consistency: Consistency[consistency],
        routingKey: encodeText(key),
      });
      const [value, version] = page.rows[0] ?? [];
      return value && version ? { value: decodeText(value), version: decodeUuid(version) } : undefined;
    } catch (error) {
      throw unavailableOf(key, error);
    }
  }

  async #run(text: string, values: readonly BoundValue[], options: RequestOptions): Promise<ResultPage> {
    const session = await this.#open();
    return session.execute(await session.prepare(text), values, options);
  }

  #open(): Promise<CqlSession> {
    this.#session ??= this.#options.openSession().catch((error: unknown) => {
      // The next call tries again.
      this.#session = undefined;
      throw error;
    });
    return this.#session;
  }
}

/** Whether it may have taken effect, or may yet. */
function isUnknown(error: unknown): boolean {
  if (error instanceof RequestTimeoutError || error instanceof ClusterUnreachableError) return true;
  if (!(error instanceof ServerError)) return false;
  const { code } = error;
  return code === ErrorCode.WRITE_TIMEOUT || code === ErrorCode.WRITE_FAILURE || code === ErrorCode.CAS_WRITE_UNKNOWN;
}

function conflictOf(key: string): LedgerConflictError {
  return new LedgerConflictError(`the ledger's record ${key} was changed by another`, { context: { key } });
}

function unavailableOf(key: string, cause: unknown): Error {
  if (cause instanceof LedgerUnavailableError) return cause;
  if (cause instanceof ServerError && cause.code === ErrorCode.INVALID) {
    return new PrerequisiteError(
      `the tables of the ledger are not there (${describeError(cause)}): create them with ringshift state init`,
      { cause },
    );
  }
  return new LedgerUnavailableError(`the ledger's record ${key} can't be reached: ${describeError(cause)}`, {
    cause,
    context: { key },
  });
}
