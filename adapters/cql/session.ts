import { LRUCache } from 'lru-cache';
import type { ResolvedCluster } from '#core/config/schema.ts';
import { type BatchStatement, encodeBatch, replaceIds } from '#core/cql/batch-body.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { decodeResult, type PreparedMessage, type ResultMessage, responseOffset } from '#core/cql/result-message.ts';
import { ClusterUnreachableError, ServerError } from '#core/errors.ts';
import { equalBytes } from '#core/model/compare-value.ts';
import { type BoundValue, Consistency, type ResultPage } from '#core/model/cql-request.ts';
import type { BatchEntry, LoadSession, PreparedStatement, RequestOptions } from '#core/ports.ts';
import { classify } from '#core/statement/classify.ts';
import type { Statement } from '#core/statement/statement.ts';
import { Cluster } from './cluster.ts';
import { serverError } from './connection-errors.ts';
import type { NodePool } from './node-pool.ts';
import { mayRetry, type Retryability, waitBeforeRetry } from './retry.ts';
import { retryabilityOf } from './retryability.ts';

/** A prepared statement with what an EXECUTE and its retries need. */
interface Prepared extends PreparedStatement {
  readonly message: PreparedMessage;
  readonly statement: Statement;
}

/** One request: how its body is made (ids may have to be made anew), and what may be done when it fails. */
interface Request {
  readonly opcode: number;
  encode(): Buffer | Promise<Buffer>;
  /** Texts to prepare again when a node has forgotten them. */
  readonly texts: readonly string[];
  readonly retryability: Retryability;
  readonly options: RequestOptions;
}

/**
 * Opens a session with the nodes of `localDatacenter`. Writes that may be repeated are repeated on another node as the
 * cluster's `retry` section says; counters never are.
 * @param keyspace what unqualified table names mean
 * @throws ClusterUnreachableError, AuthenticationFailedError, PrerequisiteError
 */
export async function createCqlSession(
  config: ResolvedCluster,
  signal?: AbortSignal,
  keyspace?: string,
): Promise<LoadSession> {
  return new Session(config, await Cluster.open(config, signal, keyspace));
}

class Session implements LoadSession {
  readonly protocolVersion: number;
  readonly #config: ResolvedCluster;
  readonly #cluster: Cluster;
  readonly #prepared: LRUCache<string, Promise<Prepared>>;

  constructor(config: ResolvedCluster, cluster: Cluster) {
    this.#config = config;
    this.#prepared = new LRUCache({ max: config.preparedCacheSize });
    this.#cluster = cluster;
    this.protocolVersion = cluster.protocolVersion;
  }

  async query(text: string, values: readonly BoundValue[] = [], options: RequestOptions = {}): Promise<ResultPage> {
    const statement = classify(text);
    const body = encodeQuery(text, this.#parameters(statement, values, options), this.protocolVersion);
    const result = await this.#send({
      opcode: Opcode.QUERY,
      encode: () => body,
      texts: [],
      retryability: retryabilityOf([{ statement }], options),
      options,
    });
    return pageOf(result);
  }

  async prepare(text: string): Promise<PreparedStatement> {
    return this.#prepare(text);
  }

  async execute(
    { text }: PreparedStatement,
    values: readonly BoundValue[],
    options: RequestOptions = {},
  ): Promise<ResultPage> {
    const { statement, message } = await this.#prepare(text);
    const parameters = this.#parameters(statement, values, options);
    const result = await this.#send({
      opcode: Opcode.EXECUTE,
      encode: async () => {
        const { id, message: current } = await this.#prepare(text);
        return encodeExecute(id, parameters, this.protocolVersion, current.resultMetadataId);
      },
      texts: [text],
      retryability: retryabilityOf([{ statement, message }], options),
      options,
    });
    return pageOf(result);
  }

  async batch(
    kind: 'logged' | 'unlogged' | 'counter',
    entries: readonly BatchEntry[],
    options: RequestOptions = {},
  ): Promise<void> {
    const texts = entries.flatMap(({ statement }) => (typeof statement === 'string' ? [] : [statement.text]));
    const prepared = await Promise.all([...new Set(texts)].map((text) => this.#prepare(text)));
    const plain = entries.flatMap(({ statement }) =>
      typeof statement === 'string' ? [{ statement: classify(statement) }] : [],
    );
    const parameters = this.#parameters(undefined, [], options);
    await this.#send({
      opcode: Opcode.BATCH,
      encode: async () => {
        const list = await Promise.all(entries.map((entry) => this.#batchStatement(entry)));
        return encodeBatch(BATCH_KINDS[kind], list, parameters, this.protocolVersion);
      },
      texts: [...new Set(texts)],
      retryability:
        kind === 'counter'
          ? { isIdempotent: false, isNeverRepeated: true }
          : retryabilityOf([...plain, ...prepared], options),
      options,
    });
  }

  async sendBatch(
    body: Uint8Array,
    statements: readonly PreparedStatement[],
    options: RequestOptions = {},
  ): Promise<void> {
    let wasSent = false;
    await this.#send({
      opcode: Opcode.BATCH,
      encode: () => {
        if (wasSent) return this.#withCurrentIds(asBuffer(body), statements);
        wasSent = true;
        return asBuffer(body);
      },
      texts: statements.map(({ text }) => text),
      // UNAVAILABLE of one partition says nothing of those before it, which hold their lists already.
      retryability: { isIdempotent: options.idempotent ?? false, isNeverRepeated: !options.idempotent },
      options,
    });
  }

  replicaSet(token: bigint): number | undefined {
    return this.#cluster.replicaSet(token);
  }

  async close(): Promise<void> {
    this.#cluster.close();
  }

  async #batchStatement({ statement, values }: BatchEntry): Promise<BatchStatement> {
    if (typeof statement === 'string') return { text: statement, values };
    return { id: (await this.#prepare(statement.text)).id, values };
  }

  /** Ids are hashes of the texts, so they stay; a node that makes other ones gets those. */
  async #withCurrentIds(body: Buffer, statements: readonly PreparedStatement[]): Promise<Buffer> {
    const changed = new Map<string, Uint8Array>();
    for (const { text, id } of statements) {
      const current = await this.#prepare(text);
      if (!equalBytes(id, current.id)) changed.set(Buffer.from(id).toString('hex'), current.id);
    }
    return changed.size === 0 ? body : replaceIds(body, changed, this.protocolVersion);
  }

  #parameters(
    statement: Statement | undefined,
    values: readonly BoundValue[],
    options: RequestOptions,
  ): QueryParameters {
    const { consistency, pageSize } = this.#config;
    const isRead = statement?.isRead ?? false;
    const serial = options.serialConsistency ?? (statement?.isLwt ? Consistency[consistency.serial] : undefined);
    return {
      consistency: options.consistency ?? Consistency[isRead ? consistency.read : consistency.write],
      values,
      ...(isRead ? { pageSize: options.pageSize ?? pageSize } : {}),
      ...(options.pagingState ? { pagingState: options.pagingState } : {}),
      ...(serial === undefined ? {} : { serialConsistency: serial }),
      ...(options.timestampMicros === undefined ? {} : { timestampMicros: options.timestampMicros }),
      ...(options.nowInSeconds === undefined ? {} : { nowInSeconds: options.nowInSeconds }),
    };
  }

  #prepare(text: string): Promise<Prepared> {
    const known = this.#prepared.get(text);
    if (known) return known;
    const fresh = this.#send({
      opcode: Opcode.PREPARE,
      encode: () => encodePrepare(text, this.protocolVersion),
      texts: [],
      retryability: { isIdempotent: true, isNeverRepeated: false },
      options: {},
    }).then((result) => toPrepared(text, result));
    this.#prepared.set(text, fresh);
    // A failure is not kept: the next caller tries again.
    fresh.catch(() => this.#prepared.delete(text));
    return fresh;
  }

  async #send(request: Request): Promise<ResultMessage> {
    const { options, retryability } = request;
    const policy = this.#config.retry;
    const candidates = this.#cluster.candidates(options.routingKey);
    for (let attempt = 1; ; attempt++) {
      options.signal?.throwIfAborted();
      const pool = candidates[(attempt - 1) % candidates.length];
      if (!pool) throw new ClusterUnreachableError(`the session with ${this.#config.name} is closed`);
      let wasSent = false;
      try {
        return await this.#sendTo(pool, request, () => {
          wasSent = true;
        });
      } catch (error) {
        // Every node gets its chance before a cluster is called unreachable, whatever the number of attempts.
        const isUnsent = !wasSent && attempt < candidates.length;
        if (attempt >= policy.maxAttempts && !isUnsent) throw error;
        if (!mayRetry(error, wasSent, retryability, policy)) throw error;
        if (wasSent || attempt >= candidates.length) await waitBeforeRetry(attempt, policy, options.signal);
      }
    }
  }

  async #sendTo(pool: NodePool, request: Request, onSent: () => void): Promise<ResultMessage> {
    try {
      return await this.#exchange(pool, request.opcode, await request.encode(), onSent, request.options.signal);
    } catch (error) {
      const isForgotten = error instanceof ServerError && error.code === ErrorCode.UNPREPARED;
      if (!isForgotten || request.texts.length === 0) throw error;
    }
    // UNPREPARED changes nothing, so even a counter may follow.
    for (const text of request.texts) {
      const body = encodePrepare(text, this.protocolVersion);
      const result = await this.#exchange(pool, Opcode.PREPARE, body, () => undefined);
      this.#prepared.set(text, Promise.resolve(toPrepared(text, result)));
    }
    return this.#exchange(pool, request.opcode, await request.encode(), onSent, request.options.signal);
  }

  async #exchange(
    pool: NodePool,
    opcode: number,
    body: Buffer,
    onSent: () => void,
    signal?: AbortSignal,
  ): Promise<ResultMessage> {
    const { frame, node } = await abortable(pool.request(opcode, body, onSent), signal);
    const reply = bodyOf(frame);
    const offset = responseOffset(flagsOf(frame), reply);
    if (opcodeOf(frame) === Opcode.ERROR) throw serverError(node, decodeError(reply, this.protocolVersion, offset));
    return decodeResult(reply, this.protocolVersion, offset);
  }
}

const BATCH_KINDS = { logged: BatchKind.LOGGED, unlogged: BatchKind.UNLOGGED, counter: BatchKind.COUNTER } as const;

function toPrepared(text: string, result: ResultMessage): Prepared {
  if (result.kind !== 'prepared') throw new TypeError('a PREPARE was answered with something else');
  return { text, id: result.prepared.id, message: result.prepared, statement: classify(text) };
}

function pageOf(result: ResultMessage): ResultPage {
  if (result.kind !== 'rows') return { columns: [], rows: [] };
  const { columns = [], pagingState } = result.metadata;
  return { columns, rows: result.rows, ...(pagingState ? { pagingState } : {}) };
}

/** Stops waiting when the signal fires; the request itself goes on. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
