import { createHash } from 'node:crypto';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TlsOptions } from 'node:tls';
import { encodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, FrameSplitter, opcodeOf, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { encodeSupported } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout } from '#core/cql/request-layout.ts';
import { encodePrepared, encodeRows, encodeVoid } from '#core/cql/result-message.ts';
import { encodeSegments, SegmentSplitter } from '#core/cql/segment.ts';
import { encodeBigint, encodeInet, encodeInt, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import { ProtocolError } from '#core/errors.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { ColumnFact } from '#core/model/table-facts.ts';

/** What a mock node answers: opcode and body, or nothing at all (it hangs). */
export interface MockReply {
  readonly opcode: number;
  readonly body: Buffer;
}

/** A request as the mock saw it. `text` is that of a QUERY or of the prepared statement. */
export interface SeenRequest {
  readonly opcode: number;
  readonly text: string;
  readonly body: Buffer;
  readonly timestampMicros: bigint | undefined;
  /** Of its connection. */
  readonly keyspace?: string | undefined;
}

type Handler = (request: SeenRequest) => MockReply | undefined;

/** Who may come in, and do what. */
export interface MockLogin {
  /** To STARTUP and AUTH_RESPONSE of a connection. */
  answer(opcode: number, body: Buffer, connection: object): MockReply;
  /** Why a connection may not do this. */
  refusal(text: string, connection: object): MockReply | undefined;
}

const native = (name: 'text' | 'uuid' | 'inet' | 'timestamp' | 'int'): CqlType => ({ kind: 'native', name });
const column = (table: string, name: string, type: CqlType) => ({ keyspace: 'system', table, name, type });
const VERSION_ID = '00000000-0000-0000-0000-000000000001';

export const voidReply: MockReply = { opcode: Opcode.RESULT, body: encodeVoid() };

export function errorReply(code: number, message = 'refused by the mock', unpreparedId?: Buffer): MockReply {
  return { opcode: Opcode.ERROR, body: encodeError({ code, message, ...(unpreparedId ? { unpreparedId } : {}) }, 4) };
}

/** One node on a loopback port: a table from opcode to handler. Speaks v3 and v4, and v5 when it is told to. */
export class MockCluster {
  /** Requests of clients, in order; the proxy's own look-ups of system tables are left out. */
  readonly seen: SeenRequest[] = [];
  /** Replaces what is answered to an opcode. */
  readonly handlers = new Map<number, Handler>();
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #registered = new Set<Socket>();
  readonly #keyspaces = new WeakMap<object, string>();
  readonly #texts = new Map<string, string>();
  readonly #maxVersion: number;
  keepsRequests = true;
  /** While it is set, answers go here, to be sent later. */
  kept: (() => void)[] | undefined;
  /** What it says of itself. */
  shown = { data_center: 'dc1', partitioner: 'org.apache.cassandra.dht.Murmur3Partitioner' };
  schemaVersion = VERSION_ID;
  keyspaces: readonly string[] = [];
  /** The schema version of another node, at the same address; none when undefined. */
  peerSchemaVersion: string | undefined;
  /** The RESULT body for a client's own question of system.local that the proxy hands on. */
  localAnswer: Buffer | undefined;
  /** Of every table. */
  defaultTtlSeconds = 0;
  /** Of every table, whatever its name. */
  columns: readonly ColumnFact[] = [
    { name: 'id', type: 'int', kind: 'partition_key', position: 0 },
    { name: 'v', type: 'text', kind: 'regular', position: -1 },
  ];
  /** Which keyspaces there are not. */
  refusesKeyspace: (name: string) => boolean = () => false;

  /** By how much its clock is ahead. */
  clockOffsetMs = 0;
  /** How often the proxy has read the nodes. */
  peerReads = 0;
  /** None: everybody may do everything. */
  login: MockLogin | undefined;

  constructor(maxVersion = 4, tls?: TlsOptions) {
    this.#maxVersion = maxVersion;
    const accept = (socket: Socket): void => {
      let splitter: FrameSplitter | SegmentSplitter = new FrameSplitter();
      let isSegmented = false;
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.#registered.delete(socket);
      });
      socket.on('data', (chunk: Buffer) => {
        const replies: Buffer[] = [];
        const wasSegmented = isSegmented;
        const take = (frame: Buffer): void => {
          if (versionOf(frame) >= 5 && opcodeOf(frame) === Opcode.STARTUP) {
            splitter = new SegmentSplitter('none');
            isSegmented = true;
          }
          if (opcodeOf(frame) === Opcode.REGISTER) this.#registered.add(socket);
          const reply = this.#answer(frame, socket);
          if (!reply) return;
          const header = { version: versionOf(frame), isResponse: true, flags: 0, streamId: streamIdOf(frame) };
          replies.push(encodeFrame({ ...header, opcode: reply.opcode }, reply.body));
        };
        try {
          splitter.push(chunk, take);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          // As a node does; drivers that begin with a version of their own then take one that it names.
          const { opcode, body } = errorReply(ErrorCode.PROTOCOL_ERROR, error.message);
          const header = { version: this.#maxVersion, isResponse: true, flags: 0, streamId: 0, opcode };
          socket.end(encodeFrame(header, body));
          return;
        }
        if (replies.length === 0) return;
        const bytes = Buffer.concat(wasSegmented ? encodeSegments(replies, 'none') : replies);
        if (this.kept) this.kept.push(() => socket.write(bytes));
        else socket.write(bytes);
      });
    };
    this.#server = tls ? createTlsServer(tls, accept) : createServer({ noDelay: true }, accept);
  }

  async listen(port = 0, host = '127.0.0.1'): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(port, host, resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Closes every connection; new ones are taken. */
  disconnect(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): Promise<void> {
    this.disconnect();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  /** Forgets prepared statements, as a restarted node does. */
  forgetPrepared(): void {
    this.#texts.clear();
  }

  texts(opcode: number): string[] {
    return this.seen.filter((one) => one.opcode === opcode).map((one) => one.text);
  }

  #answer(frame: Buffer, connection: object): MockReply | undefined {
    const opcode = opcodeOf(frame);
    const version = versionOf(frame);
    const body = bodyOf(frame);
    switch (opcode) {
      case Opcode.OPTIONS:
        return {
          opcode: Opcode.SUPPORTED,
          body: encodeSupported(
            new Map([
              ['PROTOCOL_VERSIONS', ['3/v3', '4/v4', '5/v5'].slice(0, this.#maxVersion - 2)],
              ['CQL_VERSION', ['3.4.6']],
            ]),
          ),
        };
      case Opcode.STARTUP:
      case Opcode.AUTH_RESPONSE:
        return this.login?.answer(opcode, body, connection) ?? { opcode: Opcode.READY, body: Buffer.alloc(0) };
      case Opcode.REGISTER:
        return { opcode: Opcode.READY, body: Buffer.alloc(0) };
      case Opcode.PREPARE:
        return this.#prepare(body, version);
      default:
        return this.#request(opcode, body, version, connection);
    }
  }

  #prepare(body: Buffer, version: number): MockReply | undefined {
    const text = body.toString('utf8', 4, 4 + body.readInt32BE(0));
    // Not the proxy's way of making ids, so that a test notices where one is passed on instead of translated.
    const id = createHash('md5').update(`mock ${text}`).digest();
    this.#texts.set(id.toString('hex'), text);
    const request = { opcode: Opcode.PREPARE, text, body, timestampMicros: undefined };
    this.#keep(request);
    const handler = this.handlers.get(Opcode.PREPARE);
    if (handler) return handler(request);
    const markers = [...text.matchAll(/\?/g)].map((_, index) => column('t', `c${index}`, native('int')));
    const prepared = {
      id,
      markers,
      partitionKeyIndexes: markers.length > 0 ? [0] : [],
      result: { columnCount: 0, columns: [] },
    };
    return { opcode: Opcode.RESULT, body: encodePrepared(prepared, version) };
  }

  #request(opcode: number, body: Buffer, version: number, connection: object): MockReply | undefined {
    const layout = readRequestLayout(opcode, body, version);
    const [first] = layout.statements;
    const text = first?.text ?? this.#texts.get(first?.id?.toString('hex') ?? '');
    if (text?.startsWith('SELECT data_center, rack, rpc_address FROM system.peers')) this.peerReads++;
    if (text === undefined) return errorReply(ErrorCode.UNPREPARED, 'unknown here', first?.id);
    const used = /^USE "?(\w+)/i.exec(text)?.[1];
    if (used !== undefined && this.refusesKeyspace(used)) return errorReply(ErrorCode.INVALID, 'no such keyspace');
    if (used !== undefined) this.#keyspaces.set(connection, used);
    if (this.localAnswer && /now\(\) AS now/.test(text)) return { opcode: Opcode.RESULT, body: this.localAnswer };
    const { columns, defaultTtlSeconds, clockOffsetMs } = this;
    const system = this.#schemaAnswer(text) ?? systemAnswer(text, { columns, defaultTtlSeconds, clockOffsetMs });
    if (system) return system;
    const refusal = this.login?.refusal(text, connection);
    if (refusal) return refusal;
    const { timestampMicros } = layout;
    const keyspace = this.#keyspaces.get(connection);
    const request: SeenRequest = { opcode, text, body: Buffer.from(body), timestampMicros, keyspace };
    this.#keep(request);
    const handler = this.handlers.get(opcode);
    return handler ? handler(request) : voidReply;
  }

  /** Tells everybody who has registered, in protocol v4. */
  event(body: Buffer): void {
    const header = { version: 4, isResponse: true, flags: 0, streamId: -1, opcode: Opcode.EVENT };
    for (const socket of this.#registered) socket.write(encodeFrame(header, body));
  }

  #schemaAnswer(text: string): MockReply | undefined {
    const text4 = (name: string) => column('local', name, native('text'));
    if (/^SELECT cluster_name/i.test(text)) {
      const { data_center, partitioner } = this.shown;
      const names = ['cluster_name', 'data_center', 'rack', 'release_version', 'cql_version', 'partitioner'];
      const row = ['mock', data_center, 'rack7', '4.1.0', '3.4.6', partitioner].map(encodeText);
      return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 6, columns: names.map(text4) }, [row]) };
    }
    if (/^SELECT schema_version, rpc_address FROM system\.peers/i.test(text)) {
      const columns = [
        column('peers', 'schema_version', native('uuid')),
        column('peers', 'rpc_address', native('inet')),
      ];
      const version = this.peerSchemaVersion;
      const row = version === undefined ? [] : [[encodeUuid(version), encodeInet('127.0.0.1')]];
      return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 2, columns }, row) };
    }
    if (/^SELECT schema_version FROM system\.local$/i.test(text)) {
      const columns = [column('local', 'schema_version', native('uuid'))];
      return {
        opcode: Opcode.RESULT,
        body: encodeRows({ columnCount: 1, columns }, [[encodeUuid(this.schemaVersion)]]),
      };
    }
    if (/^SELECT keyspace_name FROM system_schema\.keyspaces/i.test(text)) {
      const rows = this.keyspaces.map((name) => [encodeText(name)]);
      return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 1, columns: [text4('keyspace_name')] }, rows) };
    }
    // What the comparison of the schemas reads: there is nothing.
    if (/^SELECT keyspace_name, \w+.* FROM system_schema\./i.test(text)) {
      return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 1, columns: [text4('keyspace_name')] }, []) };
    }
    return undefined;
  }

  #keep(request: SeenRequest): void {
    if (this.keepsRequests) this.seen.push(request);
  }
}

/** Just enough of the system tables for a driver, and for the proxy's own control connection. */
function systemAnswer(
  text: string,
  { columns, defaultTtlSeconds, clockOffsetMs }: Pick<MockCluster, 'columns' | 'defaultTtlSeconds' | 'clockOffsetMs'>,
): MockReply | undefined {
  if (/^USE /i.test(text)) return voidReply;
  const rows = (columns: [string, CqlType, Buffer | null][], hasRow = true): MockReply => {
    const metadata = {
      columnCount: columns.length,
      columns: columns.map(([name, type]) => column('local', name, type)),
    };
    return { opcode: Opcode.RESULT, body: encodeRows(metadata, hasRow ? [columns.map(([, , value]) => value)] : []) };
  };
  if (/toTimestamp\(now\(\)\) FROM system\.local/i.test(text)) {
    return rows([['now', native('timestamp'), encodeBigint(BigInt(Date.now() + clockOffsetMs))]]);
  }
  if (/FROM system\.local/i.test(text)) {
    const alias = /^SELECT release_version AS "([^"]+)"/i.exec(text)?.[1];
    if (alias) return rows([[alias, native('text'), encodeText('4.1.0')]]);
    if (/^SELECT schema_version/i.test(text)) return rows([['schema_version', native('uuid'), encodeUuid(VERSION_ID)]]);
    return rows([
      ['key', native('text'), encodeText('local')],
      ['rpc_address', native('inet'), encodeInet('10.1.2.3')],
      ['schema_version', native('uuid'), encodeUuid(VERSION_ID)],
    ]);
  }
  if (/FROM system\.peers/i.test(text)) {
    if (/data_center/i.test(text))
      return rows(
        [
          ['data_center', native('text'), null],
          ['rpc_address', native('inet'), null],
        ],
        false,
      );
    return rows([['peer', native('inet'), encodeInet('10.1.2.4')]], !/schema_version/i.test(text));
  }
  if (/^SELECT default_time_to_live FROM system_schema\.tables/i.test(text)) {
    return rows([['default_time_to_live', native('int'), encodeInt(defaultTtlSeconds)]]);
  }
  if (/FROM system_schema\.columns/i.test(text)) {
    const metadata = {
      columnCount: 4,
      columns: [
        column('columns', 'column_name', native('text')),
        column('columns', 'type', native('text')),
        column('columns', 'kind', native('text')),
        column('columns', 'position', native('int')),
      ],
    };
    const values = columns.map((one) => [
      encodeText(one.name),
      encodeText(one.type),
      encodeText(one.kind),
      encodeInt(one.position),
    ]);
    return { opcode: Opcode.RESULT, body: encodeRows(metadata, values) };
  }
  return undefined;
}
