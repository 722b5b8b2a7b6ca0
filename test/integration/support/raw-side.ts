/** One side of a comparison: the same requests to a cluster itself and to the proxy, and what was answered. */
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { FrameFlag, Opcode } from '#core/cql/protocol.ts';
import {
  encodeBatchTail,
  encodeExecute,
  encodePrepare,
  encodeQuery,
  type QueryParameters,
} from '#core/cql/request-messages.ts';
import { decodeResult, type PreparedMessage, readEnvelope } from '#core/cql/result-message.ts';
import { encodeInt } from '#core/cql/value-codec.ts';
import { type BoundValue, Consistency } from '#core/model/cql-request.ts';
import type { RawClient, RawReply } from './raw-client.ts';

type BatchEntry = readonly [statement: string | PreparedMessage, values?: readonly BoundValue[]];

export class RawSide {
  readonly client: RawClient;
  readonly keyspace: string;
  /** What was answered, ids and states that are each side's own left out. */
  readonly seen: string[] = [];
  readonly #base: number;

  /** @param base added to the ids of partitions, `#24` in a text */
  constructor(client: RawClient, keyspace: string, base: number) {
    this.client = client;
    this.keyspace = keyspace;
    this.#base = base;
  }

  id(partition: number): Buffer {
    return encodeInt(this.#base + partition);
  }

  key(partition: number, part: number): Buffer[] {
    return [this.id(partition), encodeInt(part)];
  }

  get version(): number {
    return this.client.dialect.version;
  }

  async send(opcode: number, body: Buffer, flags = 0): Promise<RawReply> {
    const reply = await this.client.request(opcode, body, flags, 7);
    this.note(reply);
    return reply;
  }

  note(reply: RawReply | undefined): void {
    this.seen.push((reply === undefined ? 'closed' : shownReply(reply)).replaceAll(this.keyspace, 'KS'));
  }

  /** `KS` in a text is this side's keyspace. */
  query(text: string, parameters: QueryParameters = {}, flags = 0): Promise<RawReply> {
    return this.send(Opcode.QUERY, encodeQuery(this.own(text), withConsistency(parameters), this.version), flags);
  }

  async prepare(text: string, keyspace?: string, flags = 0): Promise<PreparedMessage> {
    const body = encodePrepare(this.own(text), this.version, keyspace);
    const reply = await this.send(Opcode.PREPARE, body, flags);
    const result = reply.opcode === Opcode.RESULT ? decodeReply(reply) : undefined;
    if (result?.kind !== 'prepared') throw new Error(`not prepared: ${shownReply(reply)}`);
    return result.prepared;
  }

  execute(prepared: PreparedMessage, parameters: QueryParameters = {}, flags = 0): Promise<RawReply> {
    const { id, resultMetadataId } = prepared;
    const body = encodeExecute(id, withConsistency(parameters), this.version, resultMetadataId);
    return this.send(Opcode.EXECUTE, body, flags);
  }

  batch(kind: number, entries: readonly BatchEntry[], parameters: QueryParameters = {}, flags = 0): Promise<RawReply> {
    return this.send(Opcode.BATCH, this.batchBody(kind, entries, parameters), flags);
  }

  batchBody(kind: number, entries: readonly BatchEntry[], parameters: QueryParameters = {}): Buffer {
    const writer = new BodyWriter().byte(kind).short(entries.length);
    for (const [statement, values = []] of entries) {
      if (typeof statement === 'string') writer.byte(0).longString(this.own(statement));
      else writer.byte(1).shortBytes(statement.id);
      writer.short(values.length);
      for (const value of values) writer.value(value);
    }
    return Buffer.concat([writer.toBuffer(), encodeBatchTail(withConsistency(parameters), this.version)]);
  }

  /** The text with this side's keyspace and partitions. */
  own(text: string): string {
    return text.replaceAll('KS', this.keyspace).replace(/#(\d+)/g, (_, id: string) => String(this.#base + Number(id)));
  }
}

function withConsistency(parameters: QueryParameters): QueryParameters {
  return { consistency: Consistency.LOCAL_ONE, ...parameters };
}

export function decodeReply(reply: RawReply) {
  return decodeResult(reply.body, reply.version, readEnvelope(reply.flags, reply.body).offset);
}

function shownReply(reply: RawReply): string {
  const envelope = readEnvelope(reply.flags, reply.body);
  const { offset } = envelope;
  // How many tables other tests have made is nobody's concern here, and a node gives one warning once in a while only.
  const warnings = envelope.warnings
    .map((one) => one.replace(/\d+ tables in \d+/, 'N'))
    .filter((one) => !one.startsWith('`USE <keyspace>`'));
  // Compression is each server's own choice.
  const flags =
    (reply.flags & ~(FrameFlag.COMPRESSION | FrameFlag.WARNING)) | (warnings.length > 0 ? FrameFlag.WARNING : 0);
  const { version, streamId, opcode } = reply;
  const head = { version, flags, streamId, opcode, warnings };
  return JSON.stringify({ ...head, message: shownMessage(reply, offset) });
}

function shownMessage(reply: RawReply, offset: number): unknown {
  switch (reply.opcode) {
    case Opcode.ERROR: {
      const { unpreparedId, ...error } = decodeError(reply.body, reply.version, offset);
      if (unpreparedId !== undefined) return { code: error.code, id: unpreparedId.toString('hex') };
      return error;
    }
    case Opcode.RESULT: {
      const result = decodeResult(reply.body, reply.version, offset);
      if (result.kind === 'prepared') {
        const { id, resultMetadataId, ...prepared } = result.prepared;
        return { ...prepared, idBytes: id.length, metadataIdBytes: resultMetadataId?.length };
      }
      if (result.kind !== 'rows') return result;
      const { pagingState, newMetadataId, ...metadata } = result.metadata;
      const rows = result.rows.map((row) => row.map((value) => value?.toString('hex') ?? null));
      return { ...metadata, rows, hasMore: pagingState !== undefined, isChanged: newMetadataId !== undefined };
    }
    case Opcode.SUPPORTED:
      return undefined;
    default:
      return reply.body.toString('hex');
  }
}
