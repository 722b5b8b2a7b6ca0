/** What core needs of the world. Adapters implement these; tests may too. No SDK type appears here. */

import type { BoundValue, Consistency, ResultPage } from './model/cql-request.ts';

/** Immutable bytes somewhere: an S3 object, a file, a buffer. */
export interface ByteSource {
  /** For messages: an s3:// URI or a path. */
  readonly name: string;
  readonly byteLength: number;
  /**
   * Bytes [start, end), exactly as many as asked for.
   * @throws ObjectStoreError (retries are the adapter's own, done before it throws)
   */
  read(start: number, end: number, signal?: AbortSignal): Promise<Uint8Array>;
}

export interface ObjectInfo {
  readonly key: string;
  readonly byteLength: number;
}

/** A bucket, or a directory that stands for one. Keys use '/'. */
export interface ObjectStore {
  /** `s3://bucket` or the directory's path; with '/' and a key it names an object in messages. */
  readonly name: string;
  list(prefix: string, signal?: AbortSignal): AsyncIterable<ObjectInfo>;
  /** @throws ObjectStoreError when the object does not exist and `byteLength` is not given */
  open(key: string, byteLength?: number): Promise<ByteSource>;
  /** The whole object, or undefined when there is none. */
  get(key: string, signal?: AbortSignal): Promise<Uint8Array | undefined>;
  put(key: string, body: Uint8Array | string, signal?: AbortSignal): Promise<void>;
  remove(key: string): Promise<void>;
}

/** A value of the ledger with the version that a conditional write must name. */
export interface Versioned {
  readonly value: string;
  readonly version: string;
}

/** A value of the ledger with its key. */
export interface LedgerEntry extends Versioned {
  readonly key: string;
}

/**
 * Key-value store with compare-and-set, outside the data that is moved. Values are JSON texts of at most 1 MiB.
 * Every call may throw LedgerUnavailableError; whether a change that threw it took effect is not known then.
 */
export interface LedgerStore {
  get(key: string): Promise<Versioned | undefined>;
  has(key: string): Promise<boolean>;
  /**
   * `expectedVersion`: undefined overwrites, null demands that the key does not exist, else the version must match.
   * Resolves to the new version. A change whose answer was lost on the way is no conflict with itself.
   * @throws LedgerConflictError
   */
  put(key: string, value: string, expectedVersion?: string | null): Promise<string>;
  /** Keys with this prefix, ascending. */
  list(prefix: string): AsyncIterable<string>;
  /** The same with their values; what is removed meanwhile may be missing. */
  entries(prefix: string): AsyncIterable<LedgerEntry>;
  /**
   * `expectedVersion`: the record must still have it; undefined removes whatever is there, also nothing.
   * @throws LedgerConflictError
   */
  remove(key: string, expectedVersion?: string): Promise<void>;
  close(): Promise<void>;
}

export interface PreparedStatement {
  readonly text: string;
  readonly id: Uint8Array;
}

export interface RequestOptions {
  readonly consistency?: Consistency;
  readonly serialConsistency?: Consistency;
  readonly timestampMicros?: bigint;
  /** Protocol v5 only: the instant from which TTLs and deletion times are computed. Seconds since the epoch. */
  readonly nowInSeconds?: number;
  readonly pageSize?: number;
  readonly pagingState?: Uint8Array;
  /** Serialized partition key; lets the session choose a replica. */
  readonly routingKey?: Uint8Array;
  /**
   * Whether it may be sent again when its outcome is unknown. Default: reads, and mutations with an explicit timestamp
   * that bind no list, increment nothing and have no IF (CORRECTNESS 9 to 11).
   */
  readonly idempotent?: boolean;
  readonly signal?: AbortSignal;
}

export interface BatchEntry {
  readonly statement: PreparedStatement | string;
  readonly values: readonly BoundValue[];
}

/**
 * A cluster spoken to in bytes: values go in and come out as the protocol's bytes.
 * Every call may throw ServerError, RequestTimeoutError, ClusterUnreachableError.
 */
export interface CqlSession {
  readonly protocolVersion: number;
  query(text: string, values?: readonly BoundValue[], options?: RequestOptions): Promise<ResultPage>;
  /** Cached by text; prepared again silently when a node has forgotten it. */
  prepare(text: string): Promise<PreparedStatement>;
  execute(statement: PreparedStatement, values: readonly BoundValue[], options?: RequestOptions): Promise<ResultPage>;
  batch(
    kind: 'logged' | 'unlogged' | 'counter',
    entries: readonly BatchEntry[],
    options?: RequestOptions,
  ): Promise<void>;
  close(): Promise<void>;
}

/** A session that also takes requests that somebody else has encoded: what a load writes through. */
export interface LoadSession extends CqlSession {
  /**
   * Sends the body of a BATCH that holds the ids of these statements, as `prepare` gave them. A node that has forgotten
   * them is told again; else, unless it is `idempotent`, it is sent once whatever comes back: a part may have been applied
   * even when the answer is UNAVAILABLE. The body must stay as it is until the answer is there; of the options only
   * `routingKey`, `idempotent` and `signal` count, since the others are in the body.
   */
  sendBatch(body: Uint8Array, statements: readonly PreparedStatement[], options?: RequestOptions): Promise<void>;
  /** Tokens with one and the same number have the same replicas; undefined when nothing is known of the ring. */
  replicaSet(token: bigint): number | undefined;
}

export interface QueuedMessage {
  readonly body: string;
  /** For logs and de-duplication in reports. */
  readonly id: string;
}

/** Where failed shadow writes go. */
export interface FailedWriteQueue {
  /** Sends up to 10 at a time; resolves to the ids that were not taken. */
  send(messages: readonly QueuedMessage[], signal?: AbortSignal): Promise<readonly string[]>;
  /** Whether `depth` is exact; absent: it may miss what was sent a moment ago. */
  readonly isExact?: boolean;
  /** Messages waiting and in flight, approximately; dead letters counted apart. */
  depth(): Promise<{ readonly waiting: number; readonly inFlight: number; readonly deadLetters: number }>;
}

export interface Clock {
  /** Since the epoch, and whole: records and ids are made of it. */
  nowMillis(): number;
}

/** One JSON line each: constant message, variables in fields. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}
