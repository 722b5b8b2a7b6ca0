import type { Socket } from 'node:net';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, DEFAULT_MAX_BODY_BYTES, flagsOf, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { encodeRegister } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { ClusterUnreachableError, ProtocolError, RequestTimeoutError } from '#core/errors.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { quoteIdentifier } from '#core/model/table-schema.ts';
import type { Authenticator } from './authenticator.ts';
import { type NodeName, nameNode, serverError, unreachable } from './connection-errors.ts';
import { type Handshake, handshake, isVersionRefusal } from './handshake.ts';
import { connectSocket, type NodeAddress } from './node-socket.ts';
import { PendingRequests, type ReplyHandler } from './pending.ts';
import type { Transport } from './transport.ts';

export interface ConnectionOptions {
  readonly node: NodeName;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** How the node is reached, asked for at each connect; by its name and port, without TLS, unless given. */
  readonly address?: () => NodeAddress;
  readonly authenticator?: Authenticator;
  /** The highest protocol version to try. */
  readonly protocolVersion: number;
  /** The lowest to go down to. */
  readonly minProtocolVersion: number;
  readonly compression?: 'none' | 'lz4';
  /** STARTUP options beside CQL_VERSION and COMPRESSION. */
  readonly startup?: ReadonlyMap<string, string>;
  /** Requests that may wait for a reply at one time; at most 32768. */
  readonly maxInFlight?: number;
  readonly maxBodyBytes?: number;
  /** The keyspace that unqualified table names mean, as the server has it (unquoted, case kept). */
  readonly keyspace?: string;
  /** An OPTIONS is sent after so long without a byte from the server, and the connection given up if it stays silent. */
  readonly heartbeatMs?: number;
  /** Events and other frames that the server sends unasked. */
  readonly onEvent?: (frame: Buffer) => void;
  /** Once, after the handshake has succeeded: the connection is no more. */
  readonly onClose?: (error: Error) => void;
}

/** The connection goes when so many requests have been left without an answer: it is stuck. */
const MAX_ORPHANS = 512;
const HEARTBEAT_MS = 30_000;

/**
 * One socket to one node, ready for requests. Replies are handed out as the frames they came in, undecoded.
 */
export class Connection {
  readonly node: NodeName;
  readonly protocolVersion: number;
  /** The last token of the server's SASL exchange, for whoever passes it on. */
  readonly authSuccessToken: Buffer | null;
  readonly #socket: Socket;
  readonly #transport: Transport;
  readonly #pending: PendingRequests;
  readonly #options: ConnectionOptions;
  readonly #timer: NodeJS.Timeout;
  #lastByteMillis = performance.now();
  #closedBy: Error | undefined;

  /** Only `openConnection` makes one. */
  constructor(socket: Socket, options: ConnectionOptions, version: number, done: Handshake) {
    this.node = options.node;
    this.protocolVersion = version;
    this.authSuccessToken = done.authSuccessToken;
    this.#socket = socket;
    this.#transport = done.transport;
    this.#options = options;
    this.#pending = new PendingRequests(Math.min(options.maxInFlight ?? 2048, 32768));
    const tickMs = Math.max(10, Math.min(1000, options.requestTimeoutMs / 10));
    this.#timer = setInterval(() => this.#tick(), tickMs);
    this.#timer.unref();
    done.onFrame((frame) => this.#receive(frame));
    socket.on('data', () => {
      this.#lastByteMillis = performance.now();
    });
    done.onEnd((error) => this.#fail(error));
  }

  get isOpen(): boolean {
    return this.#closedBy === undefined;
  }

  get inFlight(): number {
    return this.#pending.inFlight;
  }

  /** Whether one more request may be in flight. */
  get hasRoom(): boolean {
    return this.#pending.hasRoom;
  }

  /** Bytes written that the network has not taken. */
  get bufferedBytes(): number {
    return this.#transport.bufferedBytes;
  }

  /**
   * Sends a request. `onReply` is called once: with the reply's frame, or with RequestTimeoutError,
   * ClusterUnreachableError or ProtocolError. False: nothing was sent and `onReply` is never called, because the
   * connection is closed or as many requests as it may have are in flight.
   */
  send(
    opcode: number,
    flags: number,
    body: Buffer | readonly Buffer[],
    onReply: ReplyHandler,
    timeoutMs: number = this.#options.requestTimeoutMs,
  ): boolean {
    if (this.#closedBy) return false;
    const streamId = this.#pending.add(onReply, performance.now() + timeoutMs);
    if (streamId < 0) return false;
    this.#transport.send(this.protocolVersion, flags, streamId, opcode, body);
    return true;
  }

  /**
   * The reply to one request, as a frame; ERROR replies are replies.
   * @throws RequestTimeoutError, ClusterUnreachableError
   */
  request(opcode: number, body: Buffer, timeoutMs?: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const isSent = this.send(opcode, 0, body, (error, frame) => (error ? reject(error) : resolve(frame!)), timeoutMs);
      if (!isSent) {
        const reason = this.#closedBy?.message ?? `${nameNode(this.node)} has too many requests in flight`;
        reject(this.#closedBy ?? new ClusterUnreachableError(reason, { context: { ...this.node } }));
      }
    });
  }

  /** Makes unqualified table names mean this keyspace. @throws ServerError and what `request` throws */
  async use(keyspace: string): Promise<void> {
    const text = `USE ${quoteIdentifier(keyspace)}`;
    const body = encodeQuery(text, { consistency: Consistency.ONE }, this.protocolVersion);
    this.#requireNoError(await this.request(Opcode.QUERY, body));
  }

  /** Asks for events; they come to `onEvent`. @throws ServerError and what `request` throws */
  async register(eventTypes: readonly string[]): Promise<void> {
    this.#requireNoError(await this.request(Opcode.REGISTER, encodeRegister(eventTypes)));
  }

  #requireNoError(frame: Buffer): void {
    if (opcodeOf(frame) !== Opcode.ERROR) return;
    const body = bodyOf(frame);
    throw serverError(this.node, decodeError(body, this.protocolVersion, responseOffset(flagsOf(frame), body)));
  }

  /** Sends what is queued, then closes. Requests in flight fail. */
  close(): void {
    this.#transport.flush();
    this.#socket.end();
    this.#fail(new ClusterUnreachableError(`the connection to ${nameNode(this.node)} was closed`));
  }

  #receive(frame: Buffer): void {
    const streamId = streamIdOf(frame);
    if (streamId < 0) {
      this.#options.onEvent?.(frame);
      return;
    }
    this.#pending.take(streamId)?.(undefined, frame);
  }

  #tick(): void {
    const now = performance.now();
    for (const onReply of this.#pending.takeExpired(now)) {
      onReply(
        new RequestTimeoutError(`${nameNode(this.node)} did not answer in time; what the request did is unknown`, {
          context: { ...this.node },
        }),
        undefined,
      );
    }
    if (this.#pending.orphans >= MAX_ORPHANS) {
      this.#fail(new ClusterUnreachableError(`${nameNode(this.node)} leaves requests unanswered; reconnecting`));
      return;
    }
    if (now - this.#lastByteMillis < (this.#options.heartbeatMs ?? HEARTBEAT_MS) || this.inFlight > 0) return;
    this.#lastByteMillis = now;
    this.send(Opcode.OPTIONS, 0, Buffer.alloc(0), (error) => {
      if (error) this.#fail(unreachable(this.node, error));
    });
  }

  #fail(error: Error): void {
    if (this.#closedBy) return;
    this.#closedBy = error;
    clearInterval(this.#timer);
    // A socket that `close` has ended still sends what it holds.
    if (!this.#socket.writableEnded) this.#socket.destroy();
    for (const onReply of this.#pending.takeAll()) onReply(error, undefined);
    this.#options.onClose?.(error);
  }
}

/**
 * Connects, shakes hands, and goes down from `protocolVersion` when the server refuses it.
 * @throws ClusterUnreachableError, AuthenticationFailedError, ServerError, ProtocolError
 */
export async function openConnection(options: ConnectionOptions, signal?: AbortSignal): Promise<Connection> {
  for (let version = options.protocolVersion; ; version--) {
    try {
      const connection = await openAt(options, version, signal);
      return options.keyspace === undefined ? connection : await withKeyspace(connection, options.keyspace);
    } catch (error) {
      if (!isVersionRefusal(error) || version <= options.minProtocolVersion) throw error;
    }
  }
}

async function withKeyspace(connection: Connection, keyspace: string): Promise<Connection> {
  try {
    await connection.use(keyspace);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function openAt(options: ConnectionOptions, version: number, signal?: AbortSignal): Promise<Connection> {
  const { node } = options;
  signal?.throwIfAborted();
  const socket = connectSocket(options.address?.() ?? node);
  socket.setNoDelay(true);
  const onAbort = (): void => {
    socket.destroy(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  const timeout = setTimeout(() => {
    const cause = Object.assign(new Error('connect time-out'), { code: 'ETIMEDOUT' });
    socket.destroy(cause);
  }, options.connectTimeoutMs);
  try {
    const done = await handshake(socket, options, version, options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES);
    return new Connection(socket, options, version, done);
  } catch (error) {
    socket.destroy();
    throw error instanceof ProtocolError ? withNode(node, error) : error;
  } finally {
    clearTimeout(timeout);
    signal?.removeEventListener('abort', onAbort);
  }
}

function withNode(node: NodeName, error: ProtocolError): ProtocolError {
  return new ProtocolError(`${nameNode(node)} does not speak CQL: ${error.message}`, { cause: error });
}
