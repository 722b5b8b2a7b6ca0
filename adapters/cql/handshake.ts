import type { Socket } from 'node:net';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf, versionOf } from '#core/cql/frame.ts';
import {
  decodeAuthenticate,
  decodeAuthToken,
  decodeSupported,
  encodeAuthToken,
  encodeStartup,
} from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { AuthenticationFailedError, ProtocolError, ServerError } from '#core/errors.ts';
import type { ConnectionOptions } from './connection.ts';
import { authenticationFailed, serverError, unreachable } from './connection-errors.ts';
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

/** SASL mechanisms take a few steps; a server that wants more is not one. */
const MAX_AUTH_STEPS = 16;

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
    if (opcodeOf(frame) !== Opcode.ERROR) return frame;
    const replyBody = bodyOf(frame);
    const error = decodeError(replyBody, versionOf(frame), responseOffset(flagsOf(frame), replyBody));
    throw error.code === ErrorCode.AUTH_ERROR ? authenticationFailed(node, error) : serverError(node, error);
  };

  await exchange.connected;
  const startup = new Map(options.startup ?? []).set('CQL_VERSION', '3.0.0');
  const compression = options.compression === 'lz4' && (await supportsLz4(ask)) ? 'lz4' : 'none';
  if (compression === 'lz4') startup.set('COMPRESSION', 'lz4');
  // READY or AUTHENTICATE is the last frame outside segments.
  if (version >= 5) exchange.beforeNextFrame(() => exchange.transport.startSegments(compression));
  let reply = await ask(Opcode.STARTUP, encodeStartup(startup));
  if (version < 5 && compression === 'lz4') exchange.transport.startBodyCompression('lz4');
  let authSuccessToken: Buffer | null = null;
  for (let step = 0; opcodeOf(reply) !== Opcode.READY; step++) {
    const opcode = opcodeOf(reply);
    if (opcode === Opcode.AUTH_SUCCESS) {
      authSuccessToken = decodeAuthToken(bodyOf(reply));
      break;
    }
    if ((opcode !== Opcode.AUTHENTICATE && opcode !== Opcode.AUTH_CHALLENGE) || step > MAX_AUTH_STEPS) {
      throw new ProtocolError(`the handshake was answered with opcode ${opcode}`);
    }
    reply = await ask(Opcode.AUTH_RESPONSE, encodeAuthToken(await nextToken(options, reply)));
  }
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

async function nextToken(options: ConnectionOptions, reply: Buffer): Promise<Uint8Array | null> {
  if (!options.authenticator) {
    throw new AuthenticationFailedError(
      `${options.node.cluster} ${options.node.host}:${options.node.port} asks for credentials; set ${options.node.cluster}.auth`,
      { context: { ...options.node } },
    );
  }
  return opcodeOf(reply) === Opcode.AUTHENTICATE
    ? options.authenticator({ kind: 'authenticate', authenticator: decodeAuthenticate(bodyOf(reply)) })
    : options.authenticator({ kind: 'challenge', token: decodeAuthToken(bodyOf(reply)) });
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
