import type { Credentials } from '#core/config/access-schema.ts';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import {
  decodeAuthenticate,
  decodeAuthToken,
  encodeAuthToken,
  encodePlainToken,
  encodeStartup,
} from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { AuthenticationFailedError, ProtocolError, ServerError } from '#core/errors.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { quoteIdentifier } from '#core/model/table-schema.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/** What a connection must have in common with a client's session to carry its requests. */
export interface SessionIdentity {
  readonly version: number;
  readonly startup: ReadonlyMap<string, string>;
  readonly credentials: Credentials | undefined;
  readonly keyspace: string | undefined;
}

/** DSE asks for the mechanism first, and answers with this when it is PLAIN. */
export const DSE_PLAIN = Buffer.from('PLAIN');
const DSE_PLAIN_START = Buffer.from('PLAIN-START');

/**
 * Takes a fresh connection to where it can carry requests: STARTUP, PLAIN authentication, USE.
 * @returns whether the node demanded a login
 * @throws AuthenticationFailedError, ServerError, ClusterUnreachableError, RequestTimeoutError
 */
export async function openSession(
  connection: UpstreamConnection,
  identity: SessionIdentity,
  timeoutMs: number,
): Promise<boolean> {
  const reply = await connection.startup(encodeStartup(identity.startup), timeoutMs);
  if (opcodeOf(reply) === Opcode.AUTHENTICATE) {
    if (!identity.credentials) {
      throw new AuthenticationFailedError(
        `${connection.host} demands a login, and there is none for this client there: let it connect again and log in`,
      );
    }
    await logIn(connection, reply, identity.credentials, timeoutMs);
  } else if (opcodeOf(reply) !== Opcode.READY) throw refusal(connection, reply);
  if (identity.keyspace !== undefined) await useKeyspace(connection, identity.keyspace, timeoutMs);
  return opcodeOf(reply) === Opcode.AUTHENTICATE;
}

/**
 * SASL PLAIN, behind AUTHENTICATE.
 * @returns AUTH_SUCCESS
 * @throws AuthenticationFailedError, ServerError, ClusterUnreachableError, RequestTimeoutError
 */
export async function logIn(
  connection: UpstreamConnection,
  authenticate: Buffer,
  { username, password }: Credentials,
  timeoutMs: number,
): Promise<Buffer> {
  const send = (token: Buffer): Promise<Buffer> =>
    connection.request(Opcode.AUTH_RESPONSE, 0, encodeAuthToken(token), timeoutMs);
  const token = encodePlainToken(username, password);
  const asksForMechanism = decodeAuthenticate(bodyOf(authenticate)).endsWith('.DseAuthenticator');
  let reply = await send(asksForMechanism ? DSE_PLAIN : token);
  if (asksForMechanism && opcodeOf(reply) === Opcode.AUTH_CHALLENGE) {
    const challenge = decodeAuthToken(bodyOf(reply));
    if (challenge?.equals(DSE_PLAIN_START)) reply = await send(token);
  }
  if (opcodeOf(reply) !== Opcode.AUTH_SUCCESS) throw refusal(connection, reply);
  return reply;
}

/** @throws ServerError when there is no such keyspace or it may not be used */
export async function useKeyspace(connection: UpstreamConnection, keyspace: string, timeoutMs: number): Promise<void> {
  const body = encodePlainQuery(`USE ${quoteIdentifier(keyspace)}`, connection.version);
  const reply = await connection.request(Opcode.QUERY, 0, body, timeoutMs);
  if (opcodeOf(reply) === Opcode.RESULT) return;
  if (opcodeOf(reply) !== Opcode.ERROR) throw refusal(connection, reply);
  // A client reads this as the answer to its own USE: the server's words, nothing added.
  const { code, message } = decodeError(bodyOf(reply), connection.version);
  throw new ServerError(message, code, code === ErrorCode.OVERLOADED);
}

/** A QUERY body without values: <query [long string]><consistency [short]><flags [byte], in v5 [int]>. */
export function encodePlainQuery(text: string, version: number, consistency: Consistency = Consistency.ONE): Buffer {
  const writer = new BodyWriter(text.length + 16).longString(text).short(consistency);
  return (version >= 5 ? writer.int(0) : writer.byte(0)).toBuffer();
}

function refusal(connection: UpstreamConnection, reply: Buffer): Error {
  if (opcodeOf(reply) === Opcode.AUTH_CHALLENGE) {
    return new AuthenticationFailedError(`${connection.host} takes no login with user name and password (SASL PLAIN)`);
  }
  if (opcodeOf(reply) !== Opcode.ERROR) {
    return new ProtocolError(`${connection.host} answered with opcode ${opcodeOf(reply)} during the handshake`);
  }
  const error = decodeError(bodyOf(reply), connection.version);
  if (error.code === ErrorCode.AUTH_ERROR) return new AuthenticationFailedError(`${connection.host}: ${error.message}`);
  return new ServerError(`${connection.host}: ${error.message}`, error.code, error.code === ErrorCode.OVERLOADED);
}
