import { ProtocolError } from '#core/errors.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import { BodyReader } from './body-reader.ts';
import { FrameFlag, Opcode, QueryFlag } from './protocol.ts';

/**
 * Where the fields of a request lie, so that one of them can be changed by splicing and the rest is never re-encoded.
 *
 *   QUERY    <query [long string]><parameters>
 *   EXECUTE  <id [short bytes]><result_metadata_id [short bytes], v5><parameters>
 *   parameters: <consistency [short]><flags [byte], [int] in v5>[<n [short]>([name_i [string]]<value_i>)…]
 *               [<page_size [int]>][<paging_state [bytes]>][<serial_consistency [short]>][<timestamp [long]>]
 *               [<keyspace [string]>][<now_in_seconds [int]>]
 *   BATCH    <type [byte]><n [short]>(<kind [byte]><query [long string] or id [short bytes]><n [short]><value>…)…
 *            <consistency [short]><flags [byte], [int] in v5>[<serial_consistency>][<timestamp>][<keyspace>][<now_in_seconds>]
 */
export interface RequestLayout {
  /** The statement of QUERY and EXECUTE; the children of BATCH. */
  readonly statements: readonly StatementLayout[];
  readonly consistency: Consistency;
  readonly consistencyOffset: number;
  readonly flags: number;
  readonly flagsOffset: number;
  readonly pageSize?: number;
  readonly pagingState?: Buffer;
  /** Where <paging_state> with its length field lies, when there is one. */
  readonly pagingStateOffset?: number;
  readonly serialConsistency?: Consistency;
  /** Where the default timestamp is, or would have to be inserted. */
  readonly timestampOffset: number;
  /** The default timestamp that the client has set. */
  readonly timestampMicros?: bigint;
  readonly keyspace?: string;
  /** Where <now_in_seconds> is, or would have to be inserted in v5: behind everything else. */
  readonly nowOffset: number;
  readonly nowInSeconds?: number;
}

/** One statement of a request and its values. */
export interface StatementLayout {
  /** Offsets of the text or id, its length field included: [start, end). */
  readonly start: number;
  readonly end: number;
  /** The text of a QUERY; undefined for a prepared statement. */
  readonly text?: string;
  /** The id of a prepared statement; undefined for a text. */
  readonly id?: Buffer;
  /** v5 EXECUTE: the result metadata that the client holds. */
  readonly resultMetadataId?: Buffer;
  /** Where <n> of the values is, or would have to be inserted. */
  readonly valuesOffset: number;
  /** undefined: there is no <n> either. */
  readonly valueCount?: number;
  /** Behind the last value. */
  readonly valuesEnd: number;
  readonly hasNames: boolean;
}

/** Where the message begins in a request body: behind the custom payload, if there is one. */
export function requestOffset(frameFlags: number, body: Buffer): number {
  if ((frameFlags & FrameFlag.CUSTOM_PAYLOAD) === 0) return 0;
  const reader = new BodyReader(body);
  for (let count = reader.short(); count > 0; count--) {
    reader.skip(reader.short());
    reader.skipValue();
  }
  return reader.offset;
}

/**
 * Reads the layout of a QUERY, EXECUTE or BATCH body that is not compressed.
 * @param offset where the message begins, see `requestOffset`
 * @throws ProtocolError
 */
export function readRequestLayout(opcode: number, body: Buffer, version: number, offset = 0): RequestLayout {
  const reader = new BodyReader(body, offset);
  switch (opcode) {
    case Opcode.QUERY: {
      const start = reader.offset;
      const text = reader.longString();
      return readSingle(reader, version, start, reader.offset, text, undefined, undefined);
    }
    case Opcode.EXECUTE: {
      const start = reader.offset;
      const id = reader.shortBytes();
      const end = reader.offset;
      return readSingle(reader, version, start, end, undefined, id, version >= 5 ? reader.shortBytes() : undefined);
    }
    case Opcode.BATCH:
      return readBatch(reader, version);
    default:
      throw new ProtocolError(`a request with opcode ${opcode} has no query parameters`);
  }
}

function readSingle(
  reader: BodyReader,
  version: number,
  start: number,
  end: number,
  text: string | undefined,
  id: Buffer | undefined,
  resultMetadataId: Buffer | undefined,
): RequestLayout {
  const consistencyOffset = reader.offset;
  const consistency = reader.short() as Consistency;
  const flagsOffset = reader.offset;
  const flags = version >= 5 ? reader.int() : reader.byte();
  const hasNames = (flags & QueryFlag.NAMES_FOR_VALUES) !== 0;
  const valuesOffset = reader.offset;
  const valueCount = (flags & QueryFlag.VALUES) !== 0 ? skipValues(reader, hasNames) : undefined;
  const valuesEnd = reader.offset;
  const statement = { start, end, text, id, resultMetadataId, valuesOffset, valueCount, valuesEnd, hasNames };
  const pageSize = (flags & QueryFlag.PAGE_SIZE) !== 0 ? reader.int() : undefined;
  const pagingStateOffset = (flags & QueryFlag.PAGING_STATE) !== 0 ? reader.offset : undefined;
  const pagingState = pagingStateOffset === undefined ? undefined : (reader.bytes() ?? undefined);
  return {
    statements: [statement],
    consistency,
    consistencyOffset,
    flags,
    flagsOffset,
    pageSize,
    pagingState,
    pagingStateOffset,
    ...readTail(reader, flags, version),
  };
}

function readBatch(reader: BodyReader, version: number): RequestLayout {
  reader.byte();
  const statements: StatementLayout[] = [];
  for (let count = reader.short(); count > 0; count--) {
    const kind = reader.byte();
    if (kind > 1) throw new ProtocolError(`a batch holds a statement of the unknown kind ${kind}`);
    const start = reader.offset;
    const head = kind === 0 ? { text: reader.longString() } : { id: reader.shortBytes() };
    const end = reader.offset;
    // Names are announced behind the values they would be part of, so servers read none (CASSANDRA-10246).
    const valueCount = skipValues(reader, false);
    statements.push({ ...head, start, end, valuesOffset: end, valueCount, valuesEnd: reader.offset, hasNames: false });
  }
  const consistencyOffset = reader.offset;
  const consistency = reader.short() as Consistency;
  const flagsOffset = reader.offset;
  const flags = version >= 5 ? reader.int() : reader.byte();
  return { statements, consistency, consistencyOffset, flags, flagsOffset, ...readTail(reader, flags, version) };
}

type Tail = Pick<
  RequestLayout,
  'serialConsistency' | 'timestampOffset' | 'timestampMicros' | 'keyspace' | 'nowOffset' | 'nowInSeconds'
>;

function readTail(reader: BodyReader, flags: number, version: number): Tail {
  const serialConsistency = (flags & QueryFlag.SERIAL_CONSISTENCY) !== 0 ? (reader.short() as Consistency) : undefined;
  const timestampOffset = reader.offset;
  const timestampMicros = (flags & QueryFlag.DEFAULT_TIMESTAMP) !== 0 ? reader.long() : undefined;
  const keyspace = version >= 5 && (flags & QueryFlag.KEYSPACE) !== 0 ? reader.string() : undefined;
  const nowOffset = reader.offset;
  const nowInSeconds = version >= 5 && (flags & QueryFlag.NOW_IN_SECONDS) !== 0 ? reader.int() : undefined;
  return { serialConsistency, timestampOffset, timestampMicros, keyspace, nowOffset, nowInSeconds };
}

/** The parameters of a write that needs no layout to be understood. */
const USUAL_FLAGS = QueryFlag.VALUES | QueryFlag.SKIP_METADATA | QueryFlag.DEFAULT_TIMESTAMP;
const LONG_BYTES = 8;

/**
 * Where the flags of an EXECUTE begin.
 * @param idEnd where its id ends
 */
export function executeFlagsOffset(frame: Buffer, idEnd: number, version: number): number {
  return 2 + (version >= 5 ? idEnd + 2 + frame.readUInt16BE(idEnd) : idEnd);
}

/** What `timestampGap` says of a request that has a default timestamp. */
export const HAS_TIMESTAMP = 0;

/**
 * Where the default timestamp of the usual EXECUTE, which ends at `end`, would have to be inserted, found without making
 * a layout. -1: it has parameters that are not usual in a write, or is broken; `readRequestLayout` tells.
 */
export function timestampGap(bytes: Buffer, flagsOffset: number, end: number, version: number): number {
  let offset = flagsOffset + (version >= 5 ? 4 : 1);
  if (offset > end) return -1;
  const flags = version >= 5 ? bytes.readInt32BE(flagsOffset) : bytes[flagsOffset]!;
  if ((flags & ~USUAL_FLAGS) !== 0) return -1;
  if ((flags & QueryFlag.VALUES) !== 0) {
    if (offset + 2 > end) return -1;
    let count = bytes.readUInt16BE(offset);
    offset += 2;
    for (; count > 0 && offset + 4 <= end; count--) {
      const length = bytes.readInt32BE(offset);
      if (length < -2) return -1;
      offset += length > 0 ? 4 + length : 4;
    }
    if (count > 0) return -1;
  }
  if ((flags & QueryFlag.DEFAULT_TIMESTAMP) !== 0) return offset + LONG_BYTES === end ? HAS_TIMESTAMP : -1;
  return offset === end ? offset : -1;
}

function skipValues(reader: BodyReader, hasNames: boolean): number {
  const count = reader.short();
  for (let index = 0; index < count; index++) {
    if (hasNames) reader.skip(reader.short());
    reader.skipValue();
  }
  return count;
}

/** A value of a request: its name when values are named, and its bytes, null, or undefined for unset. */
export interface RequestValue {
  readonly name?: string;
  readonly value: Buffer | null | undefined;
}

/** The values of one statement, sharing memory with the body. */
export function readValues(body: Buffer, statement: StatementLayout): RequestValue[] {
  if (!statement.valueCount) return [];
  const reader = new BodyReader(body, statement.valuesOffset + 2);
  const values: RequestValue[] = [];
  for (let index = 0; index < statement.valueCount; index++) {
    values.push(statement.hasNames ? { name: reader.string(), value: reader.value() } : { value: reader.value() });
  }
  return values;
}
