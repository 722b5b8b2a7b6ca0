import { ProtocolError } from '#core/errors.ts';
import { type BoundValue, Consistency } from '#core/model/cql-request.ts';
import { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { QueryFlag } from './protocol.ts';

/** What goes with a statement. Fields that the protocol version lacks are refused, not dropped. */
export interface QueryParameters {
  readonly consistency?: Consistency;
  readonly values?: readonly BoundValue[];
  /** As many as there are values. */
  readonly names?: readonly string[];
  readonly skipMetadata?: boolean;
  readonly pageSize?: number;
  readonly pagingState?: Uint8Array;
  readonly serialConsistency?: Consistency;
  readonly timestampMicros?: bigint;
  /** v5. */
  readonly keyspace?: string;
  /** v5. Seconds since the epoch. */
  readonly nowInSeconds?: number;
}

/** QUERY (section 4.1.4). */
export function encodeQuery(text: string, parameters: QueryParameters, version: number): Buffer {
  const writer = new BodyWriter(64 + text.length).longString(text);
  writeParameters(writer, parameters, version);
  return writer.toBuffer();
}

/** EXECUTE (section 4.1.6). `resultMetadataId` is needed in v5. */
export function encodeExecute(
  id: Uint8Array,
  parameters: QueryParameters,
  version: number,
  resultMetadataId?: Uint8Array,
): Buffer {
  const writer = new BodyWriter().shortBytes(id);
  if (version >= 5) writer.shortBytes(resultMetadataId ?? Buffer.alloc(0));
  writeParameters(writer, parameters, version);
  return writer.toBuffer();
}

/** PREPARE (section 4.1.5): <query [long string]>, in v5 <flags [int]>[<keyspace [string]>]. */
export function encodePrepare(text: string, version: number, keyspace?: string): Buffer {
  const writer = new BodyWriter(16 + text.length).longString(text);
  if (version >= 5) {
    writer.int(keyspace === undefined ? 0 : 1);
    if (keyspace !== undefined) writer.string(keyspace);
  }
  return writer.toBuffer();
}

/** Text and, in v5, keyspace of a PREPARE. @throws ProtocolError */
export function decodePrepare(body: Buffer, version: number, offset = 0): { text: string; keyspace?: string } {
  const reader = new BodyReader(body, offset);
  const text = reader.longString();
  // A v5 client may leave the flags out where it has none: Cassandra reads what is there.
  if (version < 5 || reader.remaining < 4) return { text };
  return (reader.int() & 1) === 0 ? { text } : { text, keyspace: reader.string() };
}

/** What stands behind the statements of a BATCH (section 4.1.7): <consistency><flags>[…]. @throws ProtocolError */
export function encodeBatchTail(
  parameters: TailParameters & Pick<QueryParameters, 'consistency'>,
  version: number,
): Buffer {
  const writer = new BodyWriter(32).short(parameters.consistency ?? Consistency.LOCAL_QUORUM);
  writeFlags(writer, tailFlags(parameters, version), version);
  writeTail(writer, parameters);
  return writer.toBuffer();
}

function writeParameters(writer: BodyWriter, parameters: QueryParameters, version: number): void {
  const { values, names } = parameters;
  let flags = tailFlags(parameters, version);
  if (values && values.length > 0) flags |= QueryFlag.VALUES | (names ? QueryFlag.NAMES_FOR_VALUES : 0);
  if (parameters.skipMetadata) flags |= QueryFlag.SKIP_METADATA;
  if (parameters.pageSize !== undefined) flags |= QueryFlag.PAGE_SIZE;
  if (parameters.pagingState) flags |= QueryFlag.PAGING_STATE;
  writer.short(parameters.consistency ?? Consistency.LOCAL_QUORUM);
  writeFlags(writer, flags, version);
  if (values && values.length > 0) {
    writer.short(values.length);
    writeValues(writer, values, names, version);
  }
  if (parameters.pageSize !== undefined) writer.int(parameters.pageSize);
  if (parameters.pagingState) writer.bytes(parameters.pagingState);
  writeTail(writer, parameters);
}

function writeValues(
  writer: BodyWriter,
  values: readonly BoundValue[],
  names: readonly string[] | undefined,
  version: number,
): void {
  for (const [index, value] of values.entries()) {
    // A v3 server would take it for null and write a tombstone.
    if (value === undefined && version < 4) throw new ProtocolError('protocol v3 has no unset values');
    if (names) writer.string(names[index]!);
    writer.value(value);
  }
}

type TailParameters = Pick<QueryParameters, 'serialConsistency' | 'timestampMicros' | 'keyspace' | 'nowInSeconds'>;

function tailFlags(parameters: TailParameters, version: number): number {
  let flags = 0;
  if (parameters.serialConsistency !== undefined) flags |= QueryFlag.SERIAL_CONSISTENCY;
  if (parameters.timestampMicros !== undefined) flags |= QueryFlag.DEFAULT_TIMESTAMP;
  if (parameters.keyspace !== undefined) flags |= QueryFlag.KEYSPACE;
  if (parameters.nowInSeconds !== undefined) flags |= QueryFlag.NOW_IN_SECONDS;
  if (version < 5 && flags > 0x7f) {
    throw new ProtocolError(`protocol v${version} has no keyspace and no now_in_seconds in a request`);
  }
  return flags;
}

function writeFlags(writer: BodyWriter, flags: number, version: number): void {
  if (version >= 5) writer.int(flags);
  else writer.byte(flags);
}

function writeTail(writer: BodyWriter, parameters: TailParameters): void {
  if (parameters.serialConsistency !== undefined) writer.short(parameters.serialConsistency);
  if (parameters.timestampMicros !== undefined) writer.long(parameters.timestampMicros);
  if (parameters.keyspace !== undefined) writer.string(parameters.keyspace);
  if (parameters.nowInSeconds !== undefined) writer.int(parameters.nowInSeconds);
}
