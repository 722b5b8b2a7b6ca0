import type { Socket } from 'node:net';
import { reasonOf } from '#adapters/cql/connection-errors.ts';
import { connectSocket, type NodeAddress } from '#adapters/cql/node-socket.ts';
import { encodeFrame, FrameSplitter, isResponse, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { SegmentSplitter } from '#core/cql/segment.ts';
import { ClusterUnreachableError, describeError, ProtocolError, RequestTimeoutError } from '#core/errors.ts';
import { rethrowLater } from '../rethrow.ts';
import { type Flusher, FrameWriter } from '../transport/frame-writer.ts';
import { AwaitedReplies } from './awaited-replies.ts';

/** Why a request will get no reply. In both cases what it did is unknown. */
export type LostReason = 'timeout' | 'closed';

/** Receives the one outcome of a request: the raw reply frame (header included), or that there will be none. */
export interface ReplyHandler {
  onReply(frame: Buffer): void;
  onLost(reason: LostReason): void;
  /** Is shown the reply where it lies, at [start, end), before a view of it is made. False: `onReply` is to be called. */
  onBytes?(bytes: Buffer, start: number, end: number): boolean;
}

/** Where and how to connect. */
export interface UpstreamAddress extends NodeAddress {
  readonly connectTimeoutMs: number;
  /** How long the node may be silent before it is asked whether it is there; 30 s unless given. */
  readonly heartbeatMs?: number;
}

/** A connection with this many requests that never got an answer is given up: its stream ids are gone. */
const MAX_ORPHANS = 512;
const SWEEP_MS = 100;
const HEARTBEAT_MS = 30_000;
/** How long the answer to a heartbeat may take. */
const MAX_HEARTBEAT_REPLY_MS = 5_000;
const NO_BODY = Buffer.alloc(0);

/**
 * One socket to a node: many requests in flight under stream ids of its own, replies handed on as they came. Knows
 * framing and time-outs; nothing of what the frames mean.
 */
export class UpstreamConnection {
  readonly version: number;
  readonly host: string;
  /** Called once, when the connection is gone. */
  onClosed: (() => void) | undefined;
  /** Called with EVENT frames. */
  onEvent: ((frame: Buffer) => void) | undefined;
  readonly #socket: Socket;
  readonly #writer: FrameWriter;
  readonly #flusher: Flusher;
  readonly #awaited = new AwaitedReplies();
  readonly #sweeper: NodeJS.Timeout;
  #splitter: FrameSplitter | SegmentSplitter = new FrameSplitter();
  #isClosed = false;
  /** What TLS found wrong after the connection was there: in 1.3 a server looks at certificates late. */
  #fault: string | undefined;
  #awaitsStartupReply = false;
  readonly #heartbeatMs: number;
  /** Sweeps since the last byte of the node: the clock is not read for every chunk. */
  #silentSweeps = 0;

  private constructor(socket: Socket, address: UpstreamAddress, version: number, flusher: Flusher) {
    this.#socket = socket;
    this.host = address.host;
    this.#heartbeatMs = address.heartbeatMs ?? HEARTBEAT_MS;
    this.version = version;
    this.#writer = new FrameWriter(socket, flusher);
    this.#flusher = flusher;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.close());
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#sweeper.unref();
  }

  /**
   * Connects; nothing is sent yet.
   * @throws ClusterUnreachableError
   */
  static open(address: UpstreamAddress, version: number, flusher: Flusher): Promise<UpstreamConnection> {
    const { port, tls } = address;
    const host = address.via ?? address.host;
    let connection: UpstreamConnection | undefined;
    const take = (chunk: Buffer): void => {
      if (connection) connection.#read(chunk);
    };
    return new Promise((resolve, reject) => {
      const socket = connectSocket(address, flusher.reader.onRead(take));
      const fail = (what: string): void => {
        socket.destroy();
        reject(new ClusterUnreachableError(`${host}:${port}: ${what}`, { context: { host, port } }));
      };
      const timer = setTimeout(
        () => fail(`no connection within ${address.connectTimeoutMs} ms`),
        address.connectTimeoutMs,
      );
      const onError = (error: Error): void => {
        clearTimeout(timer);
        fail(reasonOf(error) ?? describeError(error));
      };
      socket.once('error', onError);
      socket.once(tls ? 'secureConnect' : 'connect', () => {
        clearTimeout(timer);
        socket.off('error', onError);
        connection = new UpstreamConnection(socket, address, version, flusher);
        if (tls) socket.on('data', take);
        resolve(connection);
      });
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get inFlightCount(): number {
    return this.#awaited.count;
  }

  /** Bytes that the node has not taken off our hands. */
  get bufferedBytes(): number {
    return this.#writer.bufferedBytes;
  }

  /** Sends a frame under a stream id of this connection. False: nothing was sent (closed, or no id left). */
  send(frame: Buffer, handler: ReplyHandler, timeoutMs: number): boolean {
    const id = this.#enter(handler, timeoutMs);
    if (id >= 0) this.#writer.write(frame, id);
    return id >= 0;
  }

  /** The same for a small frame that lies at [start, end); it is copied. */
  sendBytes(bytes: Buffer, start: number, end: number, handler: ReplyHandler, timeoutMs: number): boolean {
    const id = this.#enter(handler, timeoutMs);
    if (id >= 0) this.#writer.writeBytes(bytes, start, end, id);
    return id >= 0;
  }

  /** Takes a stream id; -1 when there is none. */
  #enter(handler: ReplyHandler, timeoutMs: number): number {
    if (this.#isClosed) return -1;
    return this.#awaited.enter(handler, this.#flusher.now() + timeoutMs);
  }

  /**
   * The same for the few requests that the proxy makes itself.
   * @throws ClusterUnreachableError, RequestTimeoutError
   */
  request(opcode: number, flags: number, body: Uint8Array, timeoutMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const frame = encodeFrame({ version: this.version, isResponse: false, flags, streamId: 0, opcode }, body);
      const isSent = this.send(
        frame,
        {
          onReply: resolve,
          onLost: (reason) =>
            reject(
              reason === 'timeout'
                ? new RequestTimeoutError(`${this.host}: no reply within ${timeoutMs} ms`)
                : new ClusterUnreachableError(`${this.host}: ${this.#fault ?? 'the connection was lost'}`),
            ),
        },
        timeoutMs,
      );
      if (!isSent) reject(new ClusterUnreachableError(`${this.host}: the connection is closed or full`));
    });
  }

  /** STARTUP, after whose reply v5 goes on in segments. Resolves to READY, AUTHENTICATE or ERROR. */
  startup(body: Uint8Array, timeoutMs: number): Promise<Buffer> {
    this.#awaitsStartupReply = true;
    return this.request(Opcode.STARTUP, 0, body, timeoutMs);
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (error.code?.startsWith('ERR_SSL')) this.#fault = reasonOf(error);
    this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    this.#socket.destroy();
    // First those who hand out connections, so that a request that is tried again does not come back here.
    this.onClosed?.();
    this.#awaited.loseAll();
  }

  #read(chunk: Buffer): void {
    this.#silentSweeps = 0;
    try {
      this.#flusher.tick();
      this.#splitter.push(chunk, this.#consume, this.#awaited.peek);
    } catch (error) {
      // The node's stream can't be cut into frames any more. Faults of handlers do not come here.
      this.close();
      if (!(error instanceof ProtocolError)) rethrowLater(error);
    }
  }

  readonly #consume = (frame: Buffer): boolean => {
    if (!isResponse(frame)) throw new ProtocolError('a node sent a request');
    const id = streamIdOf(frame);
    if (id < 0) {
      if (opcodeOf(frame) === Opcode.EVENT) this.#tellEvent(frame);
      return true;
    }
    const mustSwitch = this.#awaitsStartupReply;
    if (mustSwitch) this.#finishStartup(opcodeOf(frame));
    this.#awaited.deliver(id, frame);
    return !mustSwitch;
  };

  #tellEvent(frame: Buffer): void {
    try {
      this.onEvent?.(frame);
    } catch (error) {
      rethrowLater(error);
    }
  }

  #finishStartup(opcode: number): void {
    this.#awaitsStartupReply = false;
    if (this.version < 5 || opcode === Opcode.ERROR) return;
    this.#splitter = new SegmentSplitter('none');
    this.#writer.startSegments('none');
  }

  #sweep(): void {
    if (++this.#silentSweeps * SWEEP_MS >= this.#heartbeatMs) this.#sendHeartbeat();
    this.#awaited.sweep(performance.now());
    if (this.#awaited.orphanCount > MAX_ORPHANS) this.close();
  }

  /** A peer that vanished without a word is noticed here, and not by the requests of clients. */
  #sendHeartbeat(): void {
    if (this.#awaitsStartupReply) return;
    this.#silentSweeps = 0;
    this.request(Opcode.OPTIONS, 0, NO_BODY, Math.min(this.#heartbeatMs, MAX_HEARTBEAT_REPLY_MS)).catch(() =>
      this.close(),
    );
  }
}
