/** A client that sends the frames it is told to, broken ones too, and shows the answers as they came. */
import { connect, type Socket } from 'node:net';
import { type BodyCompression, compressBody, decompressBody } from '#core/cql/compression.ts';
import { bodyOf, encodeFrame, FrameSplitter, flagsOf, opcodeOf, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { encodeAuthToken, encodePlainToken, encodeStartup } from '#core/cql/handshake-messages.ts';
import { FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeSegments, SegmentSplitter } from '#core/cql/segment.ts';
import type { HostAndPort } from './test-environment.ts';

/** An answer, its body not compressed any more. */
export interface RawReply {
  readonly version: number;
  readonly flags: number;
  readonly streamId: number;
  readonly opcode: number;
  readonly body: Buffer;
}

/** How a client speaks. */
export interface Dialect {
  readonly version: number;
  readonly compression?: BodyCompression | undefined;
}

const REPLY_MS = 30_000;

export class RawClient {
  readonly dialect: Dialect;
  readonly events: RawReply[] = [];
  readonly #socket: Socket;
  readonly #replies: RawReply[] = [];
  #splitter: FrameSplitter | SegmentSplitter = new FrameSplitter();
  #isSegmented = false;
  #isClosed = false;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket, dialect: Dialect) {
    this.#socket = socket;
    this.dialect = dialect;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      try {
        this.#read(chunk);
      } catch {
        // Bytes that are no frames of a version that is spoken here.
        socket.destroy();
      }
    });
    socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** Connects; nothing is sent. */
  static open(place: HostAndPort, dialect: Dialect): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(place);
      socket.setNoDelay(true);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RawClient(socket, dialect)));
    });
  }

  /** Connects and logs in. */
  static async login(
    place: HostAndPort,
    dialect: Dialect,
    username: string,
    password: string,
    more: readonly (readonly [string, string])[] = [],
  ): Promise<RawClient> {
    const client = await RawClient.open(place, dialect);
    await client.startup(more);
    const token = encodeAuthToken(encodePlainToken(username, password));
    const reply = await client.request(Opcode.AUTH_RESPONSE, token);
    if (reply.opcode !== Opcode.AUTH_SUCCESS) throw new Error(`the login was answered with opcode ${reply.opcode}`);
    return client;
  }

  async startup(more: readonly (readonly [string, string])[] = []): Promise<RawReply> {
    const { version, compression } = this.dialect;
    const options = new Map([['CQL_VERSION', '3.0.0'], ...more]);
    if (compression) options.set('COMPRESSION', compression);
    const frame = { version, isResponse: false, flags: 0, streamId: 1, opcode: Opcode.STARTUP };
    this.write(encodeFrame(frame, encodeStartup(options)));
    const reply = await this.next();
    if (reply === undefined) throw new Error('no answer to STARTUP');
    return reply;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The frame of a request in this client's dialect, in a segment where it needs one. */
  bytesOf(opcode: number, body: Buffer, flags = 0, streamId = 1): Buffer {
    const { version, compression } = this.dialect;
    const isCompressed = compression !== undefined && version < 5 && body.length > 0;
    const header = {
      version,
      isResponse: false,
      flags: flags | (isCompressed ? FrameFlag.COMPRESSION : 0),
      streamId,
      opcode,
    };
    return this.segmentsOf(encodeFrame(header, isCompressed ? compressBody(body, compression) : body));
  }

  /** v5 after STARTUP: the bytes in segments. */
  segmentsOf(frame: Buffer): Buffer {
    const compression = this.dialect.compression === 'lz4' ? 'lz4' : 'none';
    return this.#isSegmented ? Buffer.concat(encodeSegments([frame], compression)) : frame;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Sends a request and waits for the next answer; with one request at a time that is its own. */
  async request(opcode: number, body: Buffer, flags = 0, streamId = 1): Promise<RawReply> {
    this.write(this.bytesOf(opcode, body, flags, streamId));
    const reply = await this.next();
    if (reply === undefined) throw new Error(`opcode ${opcode} was never answered`);
    return reply;
  }

  /** The next answer; undefined when the connection is closed, or nothing came in time. */
  async next(withinMs = REPLY_MS): Promise<RawReply | undefined> {
    const deadline = performance.now() + withinMs;
    while (this.#replies.length === 0 && !this.#isClosed && performance.now() < deadline) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - performance.now());
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#replies.shift();
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    let rest: Buffer | undefined = chunk;
    while (rest !== undefined && rest.length > 0) {
      const splitter: FrameSplitter | SegmentSplitter = this.#splitter;
      splitter.push(rest, (frame) => {
        this.#take(frame);
        return splitter === this.#splitter;
      });
      rest = splitter !== this.#splitter && splitter instanceof FrameSplitter ? splitter.takeRest() : undefined;
    }
    this.#wake();
  }

  #take(frame: Buffer): void {
    const { compression } = this.dialect;
    const flags = flagsOf(frame);
    const isCompressed = versionOf(frame) < 5 && (flags & FrameFlag.COMPRESSION) !== 0;
    const body = isCompressed ? decompressBody(bodyOf(frame), compression!) : Buffer.from(bodyOf(frame));
    const reply = { version: versionOf(frame), flags, streamId: streamIdOf(frame), opcode: opcodeOf(frame), body };
    if (reply.opcode === Opcode.EVENT) this.events.push(reply);
    else this.#replies.push(reply);
    const isStarted = reply.opcode === Opcode.READY || reply.opcode === Opcode.AUTHENTICATE;
    if (reply.version >= 5 && isStarted && !this.#isSegmented) {
      this.#isSegmented = true;
      this.#splitter = new SegmentSplitter(compression === 'lz4' ? 'lz4' : 'none');
    }
  }
}
