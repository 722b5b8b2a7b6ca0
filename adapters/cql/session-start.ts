import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { decodeAuthenticate, decodeAuthToken, encodeAuthToken, encodeStartup } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { ProtocolError } from '#core/errors.ts';
import type { Authenticator } from './authenticator.ts';

/** SASL mechanisms take a few steps; a server that wants more is not one. */
const MAX_AUTH_STEPS = 16;

/** Sends a request of the handshake. Rejects for ERROR replies, in words for whoever connects. */
export type Ask = (opcode: number, body: Buffer) => Promise<Buffer>;

/** How a node let a connection in. */
export interface Admission {
  readonly demandedLogin: boolean;
  /** The last token of the SASL exchange, for whoever passes it on. */
  readonly authSuccessToken: Buffer | null;
}

/**
 * STARTUP and the SASL exchange, which take a connection to where it can carry requests.
 * @throws what `ask` and `authenticator` throw, and ProtocolError
 */
export async function startSession(
  ask: Ask,
  startup: ReadonlyMap<string, string>,
  authenticator: Authenticator,
): Promise<Admission> {
  const reply = await ask(Opcode.STARTUP, encodeStartup(startup));
  if (opcodeOf(reply) === Opcode.READY) return { demandedLogin: false, authSuccessToken: null };
  const success = await logInBehind(reply, ask, authenticator);
  return { demandedLogin: true, authSuccessToken: decodeAuthToken(bodyOf(success)) };
}

/**
 * The SASL exchange behind AUTHENTICATE.
 * @returns AUTH_SUCCESS
 * @throws as above
 */
export async function logInBehind(authenticate: Buffer, ask: Ask, authenticator: Authenticator): Promise<Buffer> {
  let reply = authenticate;
  for (let step = 0; ; step++) {
    const opcode = opcodeOf(reply);
    if (opcode === Opcode.AUTH_SUCCESS && step > 0) return reply;
    if (opcode !== (step === 0 ? Opcode.AUTHENTICATE : Opcode.AUTH_CHALLENGE) || step > MAX_AUTH_STEPS) {
      throw new ProtocolError(`the handshake was answered with opcode ${opcode}`);
    }
    const body = bodyOf(reply);
    const token = await authenticator(
      opcode === Opcode.AUTHENTICATE
        ? { kind: 'authenticate', authenticator: decodeAuthenticate(body) }
        : { kind: 'challenge', token: decodeAuthToken(body) },
    );
    reply = await ask(Opcode.AUTH_RESPONSE, encodeAuthToken(token));
  }
}
