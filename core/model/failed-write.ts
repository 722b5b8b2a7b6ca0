import { z } from 'zod';
import { describeError, MessageInvalidError } from '../errors.ts';
import type { ClusterName } from './cluster-name.ts';
import type { BoundValue, Consistency } from './cql-request.ts';

/**
 * A write that one cluster has and the other one missed, as it travels through the queue. It holds everything that
 * applying it again needs, so that a redelivery, in any order and any number of times, ends in the same cells.
 */
export interface FailedWrite {
  readonly version: 1;
  readonly id: string;
  /** The session's keyspace, for statements that name none; null when the session had none. */
  readonly keyspace: string | null;
  /** Every table that the statements write, with its keyspace; what becomes suspect when the write can't be replayed. */
  readonly tables: readonly TableName[];
  readonly consistency: Consistency;
  /** The one timestamp of the mutation, pinned by the proxy or set by the client. */
  readonly timestampMicros: bigint;
  /** The proxy's clock when the primary took the write: TTLs count from here. Seconds since the epoch. */
  readonly writtenAtSeconds: number;
  /** The phase epoch in which it was written. */
  readonly epoch: number;
  readonly destination: ClusterName;
  readonly kind: 'query' | 'batch';
  /** Of a batch; a single statement has none. */
  readonly batchKind?: 'logged' | 'unlogged' | 'counter';
  readonly statements: readonly FailedStatement[];
  /** False: applying it twice may differ from once (counters, non-frozen lists); it is never replayed. */
  readonly idempotent: boolean;
  /**
   * It writes lists: instead of the statements, what the other cluster has in the rows and columns that they touch is
   * copied.
   */
  readonly readBack?: true;
  /** Serialized partition key where one is known: routes the replay, names the partition in reports. */
  readonly partitionKey?: Uint8Array;
  /** Why the shadow failed: an error name, for the report. Never a value of the application. */
  readonly reason?: string;
  /** Which attempt comes next: 1 when it is queued, one more each time the cluster refuses this very write. */
  readonly attempts: number;
  /** ISO 8601. */
  readonly enqueuedAt: string;
  /** The proxy instance that sent it. */
  readonly instance: string;
}

export interface TableName {
  readonly keyspace: string;
  readonly table: string;
}

export interface FailedStatement {
  readonly text: string;
  /** By position, or by name where the client bound by name. */
  readonly values: readonly BoundValue[] | ReadonlyMap<string, BoundValue>;
}

/** The largest body that is decoded; the queue's own limit is far below, an overflow object may be bigger. Bytes. */
export const MAX_FAILED_WRITE_BYTES = 64 * 1024 * 1024;

const base64 = z.base64();
const boundValue = z.union([base64, z.null(), z.strictObject({ unset: z.literal(true) })]);
const tableName = z.strictObject({ keyspace: z.string().min(1), table: z.string().min(1) });

const failedWriteBody = z
  .strictObject({
    version: z.literal(1),
    id: z.string().min(1).max(200),
    keyspace: z.string().min(1).nullable(),
    tables: z.array(tableName).max(1000),
    consistency: z.int().min(0).max(0x0a),
    timestampMicros: z.string().regex(/^-?\d{1,19}$/),
    writtenAtSeconds: z.int().min(0),
    epoch: z.int().min(0),
    destination: z.enum(['origin', 'target']),
    kind: z.enum(['query', 'batch']),
    batchKind: z.enum(['logged', 'unlogged', 'counter']).optional(),
    statements: z
      .array(
        z.strictObject({
          text: z.string().min(1),
          values: z.union([z.array(boundValue).max(65_535), z.record(z.string(), boundValue)]),
        }),
      )
      .min(1)
      .max(65_535),
    idempotent: z.boolean(),
    readBack: z.literal(true).optional(),
    partitionKey: base64.optional(),
    reason: z.string().max(500).optional(),
    attempts: z.int().min(0),
    enqueuedAt: z.iso.datetime(),
    instance: z.string().min(1).max(200),
  })
  .refine((body) => body.kind === 'batch' || body.statements.length === 1, {
    message: 'a query has exactly one statement',
    path: ['statements'],
  })
  .refine((body) => (body.kind === 'batch') === (body.batchKind !== undefined), {
    message: 'a batch has a batchKind, a query has none',
    path: ['batchKind'],
  });

type JsonValue = z.infer<typeof boundValue>;

function valueToJson(value: BoundValue): JsonValue {
  if (value === undefined) return { unset: true };
  return value === null ? null : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
}

function valueFromJson(value: JsonValue): BoundValue {
  if (value === null) return null;
  return typeof value === 'string' ? new Uint8Array(Buffer.from(value, 'base64')) : undefined;
}

/** The message's body for the queue: JSON of version 1. */
export function encodeFailedWrite(write: FailedWrite): string {
  const body: z.input<typeof failedWriteBody> = {
    ...write,
    tables: write.tables.map(({ keyspace, table }) => ({ keyspace, table })),
    timestampMicros: write.timestampMicros.toString(),
    statements: write.statements.map(({ text, values }) => ({
      text,
      values:
        values instanceof Map
          ? Object.fromEntries([...values].map(([name, value]) => [name, valueToJson(value)]))
          : (values as readonly BoundValue[]).map(valueToJson),
    })),
    partitionKey: write.partitionKey && (valueToJson(write.partitionKey) as string),
  };
  return encodeForQueue(body);
}

/** JSON that queues carry: they take what XML may hold, and U+FFFE and U+FFFF it may not. */
export function encodeForQueue(value: object): string {
  return JSON.stringify(value).replaceAll(/[\uFFFE\uFFFF]/g, (one) => `\\u${one.charCodeAt(0).toString(16)}`);
}

const TABLES = /"tables":(\[(?:\{"keyspace":"(?:[^"\\]|\\.)*","table":"(?:[^"\\]|\\.)*"\}(?:,(?=\{)|(?=\])))*\])/;

/** The tables of an encoded failed write, also of one that breaks off behind them; undefined when they can't be found. */
export function findTables(body: string): readonly TableName[] | undefined {
  const text = TABLES.exec(body)?.[1];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as TableName[];
  } catch {
    return undefined;
  }
}

/**
 * @throws MessageInvalidError when the body is no JSON of version 1, lacks a timestamp, or is longer than
 *   `MAX_FAILED_WRITE_BYTES`; the message names paths and never values
 */
export function decodeFailedWrite(body: string): FailedWrite {
  const parsed = failedWriteBody.safeParse(parseJson(body));
  if (!parsed.success) {
    const faults = parsed.error.issues
      .slice(0, 10)
      .map((issue) => `${issue.path.join('.') || '(body)'}: ${issue.code}`);
    throw new MessageInvalidError(`failed write is not of version 1: ${faults.join('; ')}`);
  }
  const { timestampMicros, statements, partitionKey, ...rest } = parsed.data;
  return {
    ...rest,
    consistency: rest.consistency as Consistency,
    timestampMicros: BigInt(timestampMicros),
    statements: statements.map(({ text, values }) => ({
      text,
      values: Array.isArray(values)
        ? values.map(valueFromJson)
        : new Map(Object.entries(values).map(([name, value]) => [name, valueFromJson(value)])),
    })),
    ...(partitionKey === undefined ? {} : { partitionKey: valueFromJson(partitionKey) as Uint8Array }),
  };
}

function parseJson(body: string): unknown {
  if (body.length > MAX_FAILED_WRITE_BYTES) {
    throw new MessageInvalidError('failed write is longer than is ever written', { context: { length: body.length } });
  }
  try {
    return JSON.parse(body);
  } catch (error) {
    // The parser's own message quotes the text, so only its kind is passed on.
    throw new MessageInvalidError(
      `failed write is no JSON (${error instanceof Error ? error.name : describeError(error)})`,
    );
  }
}
