import { z } from 'zod';
import { type ReasonCode, reasonCodes } from '../ledger/reasons.ts';
import type { ClusterName } from './cluster-name.ts';
import type { BoundValue, Consistency } from './cql-request.ts';

/**
 * A write that one cluster has and the other one missed, as it travels in a message. It holds everything that applying it
 * again needs, so that a redelivery, in any order and any number of times, ends in the same cells.
 */
export interface FailedWrite {
  readonly id: string;
  /** The session's keyspace, for statements that name none; null when the session had none. */
  readonly keyspace: string | null;
  /** Every table that the statements write, with its keyspace; what becomes suspect when the write can't be replayed. */
  readonly tables: readonly WrittenTable[];
  readonly consistency: Consistency;
  /** The one timestamp of the mutation, pinned by the proxy or set by the client. */
  readonly timestampMicros: bigint;
  /** The proxy's clock when the primary took the write: TTLs count from here. Seconds since the epoch. */
  readonly writtenAtSeconds: number;
  /**
   * When all that it writes ends, be it by its own TTL or by its table's default; null: never, or its statements end at
   * different times, each by its own TTL. Seconds since the epoch.
   */
  readonly expiresAtSeconds: number | null;
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
  /** Why the shadow failed. */
  readonly code?: ReasonCode;
  /** The same for people: an error name. Never a value of the application. */
  readonly reason?: string;
  /** Which attempt comes next: 1 when it is queued, one more each time the cluster refuses this very write. */
  readonly attempts: number;
  /** Not before this instant, ISO 8601: queues delay by fifteen minutes at most. */
  readonly notBefore?: string;
}

export interface TableName {
  readonly keyspace: string;
  readonly table: string;
}

export interface WrittenTable extends TableName {
  /** Of all partitions that it writes there; absent: not known. */
  readonly tokens?: readonly bigint[];
}

export interface FailedStatement {
  readonly text: string;
  /** CQL names of the values' types by position, as PREPARED told them; absent for texts that were not prepared. */
  readonly types?: readonly string[];
  /** By position, or by name where the client bound by name. */
  readonly values: readonly BoundValue[] | ReadonlyMap<string, BoundValue>;
}

const MAX_VALUES = 65_535;

const base64 = z.base64();
const boundValue = z.union([base64, z.null(), z.strictObject({ unset: z.literal(true) })]);
/** A token, or a write time: an integer of 64 bits as a decimal text. */
export const tokenText = z
  .string()
  .refine((text) => /^-?\d{1,19}$/.test(text) && BigInt.asIntN(64, BigInt(text)) === BigInt(text));

const writtenTable = z.strictObject({
  keyspace: z.string().min(1).max(200),
  table: z.string().min(1).max(200),
  tokens: z.array(tokenText).max(MAX_VALUES).optional(),
});

const failedStatement = z.strictObject({
  text: z.string().min(1),
  types: z.array(z.string().min(1).max(10_000)).max(MAX_VALUES).optional(),
  values: z.union([z.array(boundValue).max(MAX_VALUES), z.record(z.string(), boundValue)]),
});

/** One of the writes of a message, as JSON. */
export const failedWriteJson = z
  .strictObject({
    id: z.string().min(1).max(200),
    keyspace: z.string().min(1).max(200).nullable(),
    tables: z.array(writtenTable).max(1000),
    consistency: z.int().min(0).max(0x0a),
    timestampMicros: tokenText,
    writtenAtSeconds: z.int().min(0),
    expiresAtSeconds: z.int().min(0).nullable(),
    epoch: z.int().min(0),
    destination: z.enum(['origin', 'target']),
    kind: z.enum(['query', 'batch']),
    batchKind: z.enum(['logged', 'unlogged', 'counter']).optional(),
    statements: z.array(failedStatement).min(1).max(MAX_VALUES),
    idempotent: z.boolean(),
    readBack: z.literal(true).optional(),
    partitionKey: base64.optional(),
    code: z.enum(reasonCodes).optional(),
    reason: z.string().max(500).optional(),
    attempts: z.int().min(0),
    notBefore: z.iso.datetime().optional(),
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
  return value === null ? null : toBase64(value);
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

function valueFromJson(value: JsonValue): BoundValue {
  if (value === null) return null;
  return typeof value === 'string' ? new Uint8Array(Buffer.from(value, 'base64')) : undefined;
}

/** The write as its message's JSON has it. */
export function failedWriteToJson(write: FailedWrite): z.input<typeof failedWriteJson> {
  return {
    ...write,
    tables: write.tables.map(({ keyspace, table, tokens }) => ({ keyspace, table, tokens: tokens?.map(String) })),
    timestampMicros: write.timestampMicros.toString(),
    statements: write.statements.map(({ text, types, values }) => ({
      text,
      types: types && [...types],
      values:
        values instanceof Map
          ? Object.fromEntries([...values].map(([name, value]) => [name, valueToJson(value)]))
          : (values as readonly BoundValue[]).map(valueToJson),
    })),
    partitionKey: write.partitionKey && toBase64(write.partitionKey),
  };
}

/** The write that a checked part of a message says. */
export function failedWriteFromJson(body: z.output<typeof failedWriteJson>): FailedWrite {
  const { timestampMicros, tables, statements, partitionKey, ...rest } = body;
  return {
    ...rest,
    tables: tables.map(({ tokens, ...name }) => (tokens ? { ...name, tokens: tokens.map(BigInt) } : name)),
    consistency: rest.consistency as Consistency,
    timestampMicros: BigInt(timestampMicros),
    statements: statements.map(({ values, ...statement }) => ({
      ...statement,
      values: Array.isArray(values)
        ? values.map(valueFromJson)
        : new Map(Object.entries(values).map(([name, value]) => [name, valueFromJson(value)])),
    })),
    ...(partitionKey === undefined ? {} : { partitionKey: valueFromJson(partitionKey) as Uint8Array }),
  };
}
