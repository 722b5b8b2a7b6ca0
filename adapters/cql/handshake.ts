import type { Socket } from 'node:net';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf, versionOf } from '#core/cql/frame.ts';
import { decodeSupported } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { ServerError } from '#core/errors.ts';
import { noLogin } from './authenticator.ts';
import type { ConnectionOptions } from './connection.ts';
import { authenticationFailed, nameNode, serverError, unreachable } from './connection-errors.ts';
import { startSession } from './session-start.ts';
import { Transport } from './transport.ts';

/** A socket that is ready for requests. */
export interface Handshake {
  readonly transport: Transport;
  readonly authSuccessToken: Buffer | null;
  /** Whom frames go to from now on. */
  onFrame(consume: (frame: Buffer) => void): void;
  /** Called once when the socket has ended, with why. */
  onEnd(listener: (error: Error) => void): void;
}

/**
 * OPTIONS (only when compression is wanted), STARTUP, and the SASL exchange.
 * @throws ClusterUnreachableError, AuthenticationFailedError, ServerError, ProtocolError
 */
export async function handshake(
  socket: Socket,
  options: ConnectionOptions,
  version: number,
  maxBodyBytes: number,
): Promise<Handshake> {
  const { node } = options;
  const exchange = new Exchange(socket, maxBodyBytes, (cause) => unreachable(node, cause));
  const ask = async (opcode: number, body: Buffer): Promise<Buffer> => {
    const reply = exchange.reply();
    exchange.transport.send(version, 0, 0, opcode, body);
    exchange.transport.flush();
    const frame = await reply;
    if (opcode === Opcode.STARTUP && version < 5 && compression === 'lz4') {
      exchange.transport.startBodyCompression('lz4');
    }
    if (opcodeOf(frame) !== Opcode.ERROR) return frame;
    const replyBody = bodyOf(frame);
    const error = decodeError(replyBody, versionOf(frame), responseOffset(flagsOf(frame), replyBody));
    throw error.code === ErrorCode.AUTH_ERROR ? authenticationFailed(node, error) : serverError(node, error);
  };

  let compression: 'none' | 'lz4' = 'none';
  await exchange.connected;
  const startup = new Map(options.startup ?? []).set('CQL_VERSION', '3.0.0');
  if (options.compression === 'lz4' && (await supportsLz4(ask))) {
    compression = 'lz4';
    startup.set('COMPRESSION', 'lz4');
  }
  // READY or AUTHENTICATE is the last frame outside segments.
  if (version >= 5) exchange.beforeNextFrame(() => exchange.transport.startSegments(compression));
  const authenticator =
    options.authenticator ?? noLogin(`${nameNode(node)} asks for credentials; set ${node.cluster}.auth`);
  const { authSuccessToken } = await startSession(ask, startup, authenticator);
  return {
    transport: exchange.transport,
    authSuccessToken,
    onFrame: (consume) => exchange.handOver(consume),
    onEnd: (listener) => exchange.onEnd(listener),
  };
}

async function supportsLz4(ask: (opcode: number, body: Buffer) => Promise<Buffer>): Promise<boolean> {
  const supported = decodeSupported(bodyOf(await ask(Opcode.OPTIONS, Buffer.alloc(0))));
  return supported.get('COMPRESSION')?.includes('lz4') ?? false;
}

/** Whether an error says that the server does not know this protocol version. */
export function isVersionRefusal(error: unknown): boolean {
  return error instanceof ServerError && error.code === ErrorCode.PROTOCOL_ERROR;
}

/** One question, one answer, until the socket is handed over. */
class Exchange {
  readonly transport: Transport;
  readonly connected: Promise<void>;
  #waiting: { resolve: (frame: Buffer) => void; reject: (error: Error) => void } | undefined;
  #consume: ((frame: Buffer) => void) | undefined;
  #beforeFrame: (() => void) | undefined;
  #endedBy: Error | undefined;
  #endListener: ((error: Error) => void) | undefined;
  /** Frames that came between the last answer and the hand-over. */
  readonly #early: Buffer[] = [];

  constructor(socket: Socket, maxBodyBytes: number, describe: (cause: unknown) => Error) {
    this.transport = new Transport(socket, maxBodyBytes, (frame) => this.#receive(frame));
    let failure: unknown;
    this.connected = new Promise((resolve, reject) => {
      socket.once('encrypted' in socket ? 'secureConnect' : 'connect', resolve);
      this.#endListener = reject;
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        this.transport.receive(chunk);
      } catch (error) {
        this.#end(error as Error);
        socket.destroy();
      }
    });
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('close', () => {
      const cause = failure ?? Object.assign(new Error('it closed the connection'), { code: '' });
      this.#end(describe(cause));
    });
  }

  reply(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#endedBy) reject(this.#endedBy);
      else this.#waiting = { resolve, reject };
    });
  }

  /** Done when the next frame has come that is no ERROR, before the bytes behind it are looked at. */
  beforeNextFrame(action: () => void): void {
    this.#beforeFrame = action;
  }

  handOver(consume: (frame: Buffer) => void): void {
    this.#consume = consume;
    for (const frame of this.#early.splice(0)) consume(frame);
  }

  onEnd(listener: (error: Error) => void): void {
    this.#endListener = listener;
    if (this.#endedBy) listener(this.#endedBy);
  }

  #receive(frame: Buffer): void {
    if (this.#consume) {
      this.#consume(frame);
      return;
    }
    if (opcodeOf(frame) !== Opcode.ERROR) {
      this.#beforeFrame?.();
      this.#beforeFrame = undefined;
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting.resolve(frame);
    else this.#early.push(frame);
  }

  #end(error: Error): void {
    if (this.#endedBy) return;
    this.#endedBy = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#endListener?.(error);
  }
}
