import type { Socket } from 'node:net';
import type { BodyCompression } from '#core/cql/compression.ts';
import type { ErrorMessage } from '#core/cql/error-message.ts';
import { bodyOf, FrameSplitter, flagsOf, isResponse, opcodeOf, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { decodeStartup, encodeSupported } from '#core/cql/handshake-messages.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeHostEvent, encodeSchemaChangeEvent, type SchemaChange } from '#core/cql/schema-change.ts';
import { SegmentSplitter } from '#core/cql/segment.ts';
import { describeError, ProtocolError } from '#core/errors.ts';
import type { ProxyServices } from '../proxy-services.ts';
import type { Host } from '../topology/host.ts';
import { faceOf } from '../topology/topology.ts';
import type { SlowClient } from '../transport/client-backlog.ts';
import { compressionOf, eventTypesOf, plainFrame, refuseUnknownVersion } from './client-framing.ts';
import { ClientSender } from './client-sender.ts';
import { Login, type LoginStep } from './login.ts';
import { RequestHandler } from './request-handler.ts';
import type { SessionUpstreams } from './session-upstreams.ts';

const HANDSHAKE_MS = 30_000;
const MAX_CLIENT_BODY_BYTES = 64 * 1024 * 1024;
/** Of who has not logged in: STARTUP and the steps of a login. */
const MAX_LOGIN_BODY_BYTES = 256 * 1024;

/** One client's connection: framing, handshake and what is said outside of requests. */
export class ClientSession implements SlowClient {
  readonly face: Host;
  readonly #socket: Socket;
  readonly #services: ProxyServices;
  readonly #sender: ClientSender;
  readonly #handshakeTimer: NodeJS.Timeout;
  #splitter: FrameSplitter | SegmentSplitter = new FrameSplitter(MAX_LOGIN_BODY_BYTES);
  #compression: BodyCompression | undefined;
  #login: Login | undefined;
  #handler: RequestHandler | undefined;
  #upstreams: SessionUpstreams | undefined;
  /** Types of events that the client has asked for. */
  #eventTypes: ReadonlySet<string> = new Set();
  /** A step of the login is under way at the cluster. */
  #isLoggingIn = false;
  /** Nothing is read any more: the client broke the protocol, or was told good-bye. */
  #isEnding = false;
  #isClosed = false;
  onClosed: (() => void) | undefined;

  constructor(socket: Socket, services: ProxyServices) {
    this.#socket = services.flusher.reader.adopt(socket, (chunk) => this.#read(chunk));
    this.#services = services;
    this.#sender = new ClientSender(this.#socket, services, this);
    this.face = faceOf(this.#socket.localAddress, this.#socket.localPort);
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, 60_000);
    this.#socket.on('error', () => this.close());
    this.#socket.on('close', () => this.close());
    this.#handshakeTimer = setTimeout(() => this.close(), HANDSHAKE_MS).unref();
  }

  get #maxBodyBytes(): number {
    return this.#handler ? MAX_CLIENT_BODY_BYTES : MAX_LOGIN_BODY_BYTES;
  }

  /** Requests that the client has no answer to yet. */
  get inFlightCount(): number {
    return this.#handler?.inFlightCount ?? 0;
  }

  get waitingBytes(): number {
    return this.#isClosed ? 0 : this.#sender.waitingBytes;
  }

  /** Sends a frame under a stream id of the client. */
  send(frame: Buffer, streamId: number): void {
    if (!this.#isClosed) this.#sender.send(frame, streamId);
  }

  /** The same for a short frame that lies at [start, end). */
  sendBytes(bytes: Buffer, start: number, end: number, streamId: number): void {
    if (!this.#isClosed) this.#sender.sendBytes(bytes, start, end, streamId);
  }

  sendMessage(opcode: number, body: Uint8Array, streamId: number, flags = 0): void {
    if (!this.#isClosed) this.#sender.sendMessage(opcode, body, streamId, flags);
  }

  sendError(error: ErrorMessage, streamId: number): void {
    if (!this.#isClosed) this.#sender.sendError(error, streamId);
  }

  /** Pushes a schema change to the client if it has asked for them. */
  pushSchemaChange(change: SchemaChange): void {
    if (this.#isClosed || !this.#eventTypes.has('SCHEMA_CHANGE')) return;
    this.#sender.sendEvent(encodeSchemaChangeEvent(change, this.#sender.version));
  }

  /** Pushes what became of an instance, likewise. */
  pushHostEvent(type: 'TOPOLOGY_CHANGE' | 'STATUS_CHANGE', change: string, host: Host): void {
    if (this.#isClosed || !this.#eventTypes.has(type)) return;
    this.#sender.sendEvent(encodeHostEvent(type, change, host));
  }

  /** Closes when every answer has left; new requests are told to go elsewhere. */
  drain(): void {
    this.#handler?.drain();
    if (this.inFlightCount === 0) this.end();
  }

  /** Sends what is queued, then closes. What still waits for a change of phase would get no answer: it is dropped. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#handler?.close();
    this.#sender.flush();
    this.#socket.end();
    setTimeout(() => this.close(), 1000).unref();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#services.backlog.note(this, 0);
    clearTimeout(this.#handshakeTimer);
    this.#login?.abandon();
    this.#handler?.close();
    this.#upstreams?.close();
    this.#socket.destroy();
    this.onClosed?.();
  }

  #read(chunk: Buffer): void {
    if (this.#isEnding) return;
    try {
      if (this.#sender.version === 0 && !this.#splitter.isInsideFrame) {
        refuseUnknownVersion(chunk[0]!, this.#services.support().maxVersion);
      }
      this.#services.flusher.tick();
      this.#splitter.push(chunk, this.#consume, this.#peek);
    } catch (error) {
      this.#services.counters.protocolErrors++;
      this.#services.logger.debug('a client broke the protocol', { error: describeError(error) });
      const streamId = this.#sender.version === 0 && chunk.length >= 4 ? chunk.readInt16BE(2) : 0;
      if (this.#sender.version === 0) this.#sender.version = this.#services.support().maxVersion;
      const message = error instanceof ProtocolError ? error.message : 'the frame can not be read';
      this.sendError({ code: ErrorCode.PROTOCOL_ERROR, message }, Math.max(0, streamId));
      this.#socket.pause();
      this.end();
    }
  }

  /** The usual request, which is taken where it lies. */
  readonly #peek = (bytes: Buffer, start: number, end: number): boolean => {
    const handler = this.#handler;
    // A request of the version in force has no other bit in its first byte; stream ids are not negative.
    if (handler === undefined || bytes[start] !== this.#sender.version || bytes[start + 2]! > 0x7f) return false;
    if (this.#isClosed || this.#isEnding) return false;
    return handler.handleUsual(bytes, start, end);
  };

  readonly #consume = (frame: Buffer): boolean => {
    if (this.#isClosed || this.#isEnding) return false;
    if (isResponse(frame)) throw new ProtocolError('a client sent a response');
    const streamId = streamIdOf(frame);
    if (streamId < 0) throw new ProtocolError(`a client used the stream id ${streamId}`);
    if (this.#sender.version === 0) this.#sender.version = versionOf(frame);
    else if (versionOf(frame) !== this.#sender.version)
      throw new ProtocolError('the version changed within a connection');
    const opcode = opcodeOf(frame);
    if (this.#handler && opcode !== Opcode.OPTIONS && opcode !== Opcode.REGISTER) {
      const plain = this.#decompress(frame);
      try {
        if (plain !== frame && this.#handler.handleUsual(plain, 0, plain.length)) return true;
        if (this.#sender.version < 4 && (flagsOf(frame) & FrameFlag.CUSTOM_PAYLOAD) !== 0) {
          // A node closes the connection for it, and that one is shared.
          throw new ProtocolError('v3 has no custom payloads');
        }
        this.#handler.handle(plain, streamId);
      } catch (error) {
        this.#refuseBody(error, streamId);
      }
      return true;
    }
    const splitter = this.#splitter;
    const plain = this.#decompress(frame);
    try {
      this.#handleOutside(opcode, plain, streamId);
    } catch (error) {
      // Before the login nothing follows that would be worth a second try.
      if (!this.#handler) throw error;
      this.#refuseBody(error, streamId);
    }
    return splitter === this.#splitter;
  };

  /** The frame was whole and its body was not: as from Cassandra, that request has its answer and the next one is taken. */
  #refuseBody(error: unknown, streamId: number): void {
    if (!(error instanceof ProtocolError || error instanceof RangeError)) throw error;
    this.#services.counters.protocolErrors++;
    const message = error instanceof ProtocolError ? error.message : 'the body of the request can not be read';
    this.sendError({ code: ErrorCode.PROTOCOL_ERROR, message }, streamId);
  }

  #handleOutside(opcode: number, frame: Buffer, streamId: number): void {
    switch (opcode) {
      case Opcode.OPTIONS:
        this.sendMessage(Opcode.SUPPORTED, encodeSupported(this.#services.support().options), streamId);
        return;
      case Opcode.STARTUP:
        return void this.#startup(bodyOf(frame), streamId);
      case Opcode.AUTH_RESPONSE:
        if (!this.#login || this.#isLoggingIn) throw new ProtocolError('AUTH_RESPONSE out of turn');
        return void this.#step(this.#login.respond(Buffer.from(bodyOf(frame))), streamId);
      case Opcode.REGISTER: {
        if (!this.#handler) throw new ProtocolError('REGISTER before the login');
        this.#eventTypes = new Set([...this.#eventTypes, ...eventTypesOf(bodyOf(frame))]);
        this.sendMessage(Opcode.READY, Buffer.alloc(0), streamId);
        return;
      }
      default:
        throw new ProtocolError(`opcode ${opcode} before the login`);
    }
  }

  async #startup(body: Buffer, streamId: number): Promise<void> {
    try {
      if (this.#login) throw new ProtocolError('STARTUP twice');
      const options = decodeStartup(body);
      this.#compression = compressionOf(options.get('COMPRESSION'), this.#sender.version);
      if (this.#sender.version < 5) this.#sender.bodyCompression = this.#compression;
      const { clusters, gate, logins, logger } = this.#services;
      const phase = () => gate.phase;
      this.#login = new Login({ clusters, logins, phase, logger, version: this.#sender.version, startup: options });
    } catch (error) {
      const code = error instanceof ProtocolError ? ErrorCode.PROTOCOL_ERROR : ErrorCode.SERVER_ERROR;
      this.sendError({ code, message: describeError(error) }, streamId);
      this.end();
      return;
    }
    await this.#step(this.#login.start(), streamId, true);
  }

  /** Passes one answer of the cluster on. In v5 everything behind the answer to STARTUP is in segments. Never rejects. */
  async #step(pending: Promise<LoginStep>, streamId: number, isStartup = false): Promise<void> {
    this.#isLoggingIn = true;
    try {
      const step = await pending;
      if (step.upstreams) this.#becomeReady(step.upstreams);
      this.sendMessage(step.opcode, step.body, streamId);
      if (isStartup && this.#sender.version >= 5 && step.opcode !== Opcode.ERROR) {
        const compression = this.#compression === 'lz4' ? 'lz4' : 'none';
        this.#sender.startSegments(compression);
        this.#splitter = new SegmentSplitter(compression, this.#maxBodyBytes);
      }
    } catch (error) {
      this.#login?.abandon();
      this.sendError({ code: ErrorCode.OVERLOADED, message: describeError(error) }, streamId);
      this.end();
    } finally {
      this.#isLoggingIn = false;
    }
  }

  #becomeReady(upstreams: SessionUpstreams): void {
    if (this.#isClosed) {
      upstreams.close();
      return;
    }
    clearTimeout(this.#handshakeTimer);
    this.#upstreams = upstreams;
    upstreams.onRefused = () => this.drain();
    this.#handler = new RequestHandler(this, upstreams, this.#sender.version, this.#services);
    this.#splitter.allow(this.#maxBodyBytes);
  }

  #decompress(frame: Buffer): Buffer {
    if ((flagsOf(frame) & FrameFlag.COMPRESSION) === 0 || this.#sender.version >= 5) return frame;
    return plainFrame(frame, this.#sender.version, this.#compression, this.#maxBodyBytes);
  }
}
