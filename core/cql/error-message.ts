import { ProtocolError } from '#core/errors.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import { BodyReader, formatInet } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { ErrorCode } from './protocol.ts';

/** ERROR (section 9 of the v4 and v5 specifications, 8 of v3): <code [int]><message [string]> and more for some codes. */
export interface ErrorMessage {
  readonly code: number;
  readonly message: string;
  readonly consistency?: Consistency;
  /** Replicas that answered. */
  readonly received?: number;
  /** Replicas whose answer the consistency level asks for. */
  readonly required?: number;
  /** SIMPLE, BATCH, UNLOGGED_BATCH, COUNTER, BATCH_LOG, CAS, VIEW, CDC. */
  readonly writeType?: string;
  readonly dataPresent?: boolean;
  /** Failed replicas; v5 has a reason code for each. */
  readonly failures?: readonly { readonly endpoint: string; readonly reason: number }[];
  readonly failureCount?: number;
  readonly keyspace?: string;
  readonly table?: string;
  readonly functionName?: string;
  readonly argumentTypes?: readonly string[];
  /** The id that the server does not know. */
  readonly unpreparedId?: Buffer;
}

/** The code alone, without decoding the rest; -1 when the body is too short. */
export function errorCodeOf(body: Buffer, offset = 0): number {
  return body.length - offset >= 4 ? body.readInt32BE(offset) : -1;
}

/** @throws ProtocolError */
export function decodeError(body: Buffer, version: number, offset = 0): ErrorMessage {
  const reader = new BodyReader(body, offset);
  const code = reader.int();
  const message = reader.string();
  switch (code) {
    case ErrorCode.UNAVAILABLE:
      // <cl><required><alive>
      return { code, message, consistency: consistency(reader), required: reader.int(), received: reader.int() };
    case ErrorCode.WRITE_TIMEOUT:
      // <cl><received><blockfor><writeType>, in v5 <contentions> for CAS
      return { code, message, ...counts(reader), writeType: reader.string() };
    case ErrorCode.READ_TIMEOUT:
      // <cl><received><blockfor><data_present>
      return { code, message, ...counts(reader), dataPresent: reader.byte() !== 0 };
    case ErrorCode.READ_FAILURE:
      // <cl><received><blockfor><reasonmap (v5) | numfailures><data_present>
      return { code, message, ...counts(reader), ...failures(reader, version), dataPresent: reader.byte() !== 0 };
    case ErrorCode.WRITE_FAILURE:
      // <cl><received><blockfor><reasonmap (v5) | numfailures><write_type>
      return { code, message, ...counts(reader), ...failures(reader, version), writeType: reader.string() };
    case ErrorCode.CAS_WRITE_UNKNOWN:
      // <cl><received><blockfor>
      return { code, message, ...counts(reader) };
    case ErrorCode.FUNCTION_FAILURE:
      // <keyspace><function><arg_types>
      return {
        code,
        message,
        keyspace: reader.string(),
        functionName: reader.string(),
        argumentTypes: reader.stringList(),
      };
    case ErrorCode.ALREADY_EXISTS:
      // <ks><table>
      return { code, message, keyspace: reader.string(), table: reader.string() };
    case ErrorCode.UNPREPARED:
      // <id>
      return { code, message, unpreparedId: reader.shortBytes() };
    default:
      return { code, message };
  }
}

function consistency(reader: BodyReader): Consistency {
  return reader.short() as Consistency;
}

function counts(reader: BodyReader): { consistency: Consistency; received: number; required: number } {
  return { consistency: consistency(reader), received: reader.int(), required: reader.int() };
}

function failures(reader: BodyReader, version: number): Pick<ErrorMessage, 'failures' | 'failureCount'> {
  const failureCount = reader.int();
  if (version < 5) return { failureCount };
  if (failureCount < 0 || failureCount > reader.remaining) throw new ProtocolError('a reason map has a wrong length');
  const list: { endpoint: string; reason: number }[] = [];
  for (let index = 0; index < failureCount; index++) {
    list.push({ endpoint: formatInet(reader.raw(reader.byte())), reason: reader.short() });
  }
  return { failures: list, failureCount };
}

/** An ERROR body with the fields that its code demands; missing ones are written as 0 or empty. */
export function encodeError(error: ErrorMessage, version: number): Buffer {
  const writer = new BodyWriter().int(error.code).string(error.message);
  const writeCounts = (): void => {
    writer
      .short(error.consistency ?? 0)
      .int(error.received ?? 0)
      .int(error.required ?? 0);
  };
  const writeFailures = (): void => {
    // Reason maps are not made up here: a proxy's own failures have no replica to name.
    writer.int(version < 5 ? (error.failureCount ?? 0) : 0);
  };
  switch (error.code) {
    case ErrorCode.UNAVAILABLE:
      writer
        .short(error.consistency ?? 0)
        .int(error.required ?? 0)
        .int(error.received ?? 0);
      break;
    case ErrorCode.WRITE_TIMEOUT:
      writeCounts();
      writer.string(error.writeType ?? 'SIMPLE');
      if (version >= 5 && error.writeType === 'CAS') writer.short(0);
      break;
    case ErrorCode.READ_TIMEOUT:
      writeCounts();
      writer.byte(error.dataPresent ? 1 : 0);
      break;
    case ErrorCode.READ_FAILURE:
      writeCounts();
      writeFailures();
      writer.byte(error.dataPresent ? 1 : 0);
      break;
    case ErrorCode.WRITE_FAILURE:
      writeCounts();
      writeFailures();
      writer.string(error.writeType ?? 'SIMPLE');
      break;
    case ErrorCode.CAS_WRITE_UNKNOWN:
      writeCounts();
      break;
    case ErrorCode.FUNCTION_FAILURE:
      writer
        .string(error.keyspace ?? '')
        .string(error.functionName ?? '')
        .stringList(error.argumentTypes ?? []);
      break;
    case ErrorCode.ALREADY_EXISTS:
      writer.string(error.keyspace ?? '').string(error.table ?? '');
      break;
    case ErrorCode.UNPREPARED:
      writer.shortBytes(error.unpreparedId ?? Buffer.alloc(0));
      break;
  }
  return writer.toBuffer();
}
