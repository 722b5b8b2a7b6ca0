import type { Socket } from 'node:net';
import { encodeError } from '#core/cql/error-message.ts';
import { encodeFrame, HEADER_BYTES, streamIdOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';

/** A client that says nothing for so long is not told anything either. */
const WAIT_MS = 5_000;
/** More than these at a time are closed without a word. */
const MAX_WAITING = 1024;
const VERSIONS = { min: 3, max: 5 };

/**
 * Tells clients for which there is no place that there is none: in the answer to their first message, OVERLOADED, which
 * drivers take as a reason to try another node.
 */
export class RefusedClients {
  readonly #waiting = new Set<Socket>();

  /** The socket is closed, now or a little later. Its errors are the caller's to listen for. */
  refuse(socket: Socket, message: string): void {
    if (this.#waiting.size >= MAX_WAITING) {
      socket.destroy();
      return;
    }
    this.#waiting.add(socket);
    const timer = setTimeout(() => socket.destroy(), WAIT_MS).unref();
    socket.on('close', () => {
      clearTimeout(timer);
      this.#waiting.delete(socket);
    });
    let header = Buffer.alloc(0);
    const read = (chunk: Buffer): void => {
      header = Buffer.concat([header, chunk.subarray(0, HEADER_BYTES - header.length)]);
      if (header.length < HEADER_BYTES) return;
      socket.off('data', read);
      // What follows is not read; a socket that is closed with unread bytes is reset, and the answer with it.
      socket.on('data', () => undefined);
      socket.end(answerTo(header, message));
    };
    socket.on('data', read);
    socket.resume();
  }

  close(): void {
    for (const socket of this.#waiting) socket.destroy();
  }
}

function answerTo(header: Buffer, message: string): Buffer {
  const version = Math.min(Math.max(header[0]! & 0x7f, VERSIONS.min), VERSIONS.max);
  const streamId = Math.max(0, streamIdOf(header));
  const frame = { version, isResponse: true, flags: 0, streamId, opcode: Opcode.ERROR };
  return encodeFrame(frame, encodeError({ code: ErrorCode.OVERLOADED, message }, version));
}
