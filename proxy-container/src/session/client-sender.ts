import type { Socket } from 'node:net';
import { type BodyCompression, compressFrame } from '#core/cql/compression.ts';
import { type ErrorMessage, encodeError } from '#core/cql/error-message.ts';
import { encodeFrame, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import type { SegmentCompression } from '#core/cql/segment.ts';
import type { ProxyServices } from '../proxy-services.ts';
import { MAX_CLIENT_BYTES, type SlowClient } from '../transport/client-backlog.ts';
import { FrameWriter } from '../transport/frame-writer.ts';

/** A client that does not read its answers is not read either, until it has. */
const PAUSE_AT_BYTES = 4 * 1024 * 1024;
const EVENT_STREAM_ID = -1;
/** Frames up to this are copied at once, and are not worth compressing. */
const MAX_SHORT_BYTES = 256;
/** Rows up to this are never withheld. */
const MAX_SMALL_BYTES = 1024;
/** A longer answer counts as waiting from the start. */
const LONG_BYTES = 64 * 1024;
/** Messages of clusters name what a client sent, and a [string] has no room for more than 64 KiB. */
const MAX_ERROR_LENGTH = 8 * 1024;

/** What is sent to one client, and what becomes of it while the client does not read. */
export class ClientSender {
  /** Of the protocol; 0 before the client has said it. */
  version = 0;
  /** Of v3 and v4, where it is done frame by frame. */
  bodyCompression: BodyCompression | undefined;
  readonly #socket: Socket;
  readonly #services: ProxyServices;
  readonly #client: SlowClient;
  readonly #writer: FrameWriter;

  /** @param client whose `close` is called when it is too slow; nothing is sent after that */
  constructor(socket: Socket, services: ProxyServices, client: SlowClient) {
    this.#socket = socket;
    this.#services = services;
    this.#client = client;
    this.#writer = new FrameWriter(socket, services.flusher);
    socket.on('drain', () => {
      services.backlog.note(client, client.waitingBytes);
      socket.resume();
    });
  }

  /** Bytes that wait for the client. */
  get waitingBytes(): number {
    return this.#writer.bufferedBytes;
  }

  /** From now on everything leaves in v5 segments. */
  startSegments(compression: SegmentCompression): void {
    this.#writer.startSegments(compression);
  }

  flush(): void {
    this.#writer.flush();
  }

  /**
   * Sends a frame under a stream id of the client. One that does not read what it asked for is told OVERLOADED instead of
   * further rows; the rows of a conditional write are that long only where it was not applied.
   */
  send(frame: Buffer, streamId: number): void {
    const waiting = this.#writer.bufferedBytes;
    if (waiting > 0 && waiting + frame.length > MAX_CLIENT_BYTES && isLongResult(frame)) {
      this.#withhold(streamId);
      return;
    }
    this.#writer.write(this.bodyCompression ? compressFrame(frame, this.bodyCompression) : frame, streamId);
    if (waiting > 0 || frame.length > LONG_BYTES) this.#noteWaiting(waiting, frame.length);
  }

  /** The same for a short frame that lies at [start, end). */
  sendBytes(bytes: Buffer, start: number, end: number, streamId: number): void {
    if (end - start > MAX_SHORT_BYTES) {
      this.send(bytes.subarray(start, end), streamId);
      return;
    }
    const waiting = this.#writer.bufferedBytes;
    this.#writer.writeBytes(bytes, start, end, streamId);
    if (waiting > 0) this.#noteWaiting(waiting, end - start);
  }

  sendMessage(opcode: number, body: Uint8Array, streamId: number, flags = 0): void {
    this.send(encodeFrame({ version: this.version, isResponse: true, flags, streamId, opcode }, body), streamId);
  }

  sendError(error: ErrorMessage, streamId: number): void {
    const { message } = error;
    const told = message.length > MAX_ERROR_LENGTH ? { ...error, message: message.slice(0, MAX_ERROR_LENGTH) } : error;
    this.sendMessage(Opcode.ERROR, encodeError(told, this.version), streamId);
  }

  /** A client that does not read the events that it asked for has no use for its connection. */
  sendEvent(body: Uint8Array): void {
    if (this.#writer.bufferedBytes <= PAUSE_AT_BYTES) {
      this.sendMessage(Opcode.EVENT, body, EVENT_STREAM_ID);
      return;
    }
    this.#services.counters.slowClientsClosed++;
    this.#client.close();
  }

  #withhold(streamId: number): void {
    const { counters } = this.#services;
    counters.answersWithheld++;
    counters.overloaded++;
    const message = 'the client does not read its answers: there is no room for this one';
    this.sendError({ code: ErrorCode.OVERLOADED, message }, streamId);
  }

  /** @param added to what the socket has: it may become much less by compression */
  #noteWaiting(waiting: number, added: number): void {
    if (waiting > PAUSE_AT_BYTES) this.#socket.pause();
    this.#services.backlog.note(this.#client, waiting + added);
  }
}

function isLongResult(frame: Buffer): boolean {
  return frame.length > MAX_SMALL_BYTES && opcodeOf(frame) === Opcode.RESULT;
}
