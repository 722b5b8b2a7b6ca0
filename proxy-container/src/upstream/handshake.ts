import { noLogin, plainAuthenticator } from '#adapters/cql/authenticator.ts';
import { type Ask, logInBehind, startSession } from '#adapters/cql/session-start.ts';
import type { Credentials } from '#core/config/access-schema.ts';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
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

/**
 * Takes a fresh connection to where it can carry requests: STARTUP, PLAIN authentication, USE.
 * @returns whether the node demanded a login
 * @throws AuthenticationFailedError, ServerError, ClusterUnreachableError, RequestTimeoutError
 */
export async function openSession(
  connection: UpstreamConnection,
  { startup, credentials, keyspace }: SessionIdentity,
  timeoutMs: number,
): Promise<boolean> {
  const authenticator = credentials
    ? plainAuthenticator(credentials.username, credentials.password)
    : noLogin(
        `${connection.host} demands a login, and there is none for this client there: let it connect again and log in`,
      );
  const { demandedLogin } = await startSession(askerOf(connection, timeoutMs), startup, authenticator);
  if (keyspace !== undefined) await useKeyspace(connection, keyspace, timeoutMs);
  return demandedLogin;
}

/**
 * SASL PLAIN, behind AUTHENTICATE.
 * @returns AUTH_SUCCESS
 * @throws AuthenticationFailedError, ServerError, ClusterUnreachableError, RequestTimeoutError
 */
export function logIn(
  connection: UpstreamConnection,
  authenticate: Buffer,
  { username, password }: Credentials,
  timeoutMs: number,
): Promise<Buffer> {
  return logInBehind(authenticate, askerOf(connection, timeoutMs), plainAuthenticator(username, password));
}

/** Of a client's login: errors are in words for it, and name no setting. */
function askerOf(connection: UpstreamConnection, timeoutMs: number): Ask {
  return async (opcode, body) => {
    const reply = await (opcode === Opcode.STARTUP
      ? connection.startup(body, timeoutMs)
      : connection.request(opcode, 0, body, timeoutMs));
    if (opcodeOf(reply) === Opcode.ERROR) throw refusal(connection, reply);
    return reply;
  };
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
  if (opcodeOf(reply) !== Opcode.ERROR) {
    return new ProtocolError(`${connection.host} answered with opcode ${opcodeOf(reply)} during the handshake`);
  }
  const error = decodeError(bodyOf(reply), connection.version);
  if (error.code === ErrorCode.AUTH_ERROR) return new AuthenticationFailedError(`${connection.host}: ${error.message}`);
  return new ServerError(`${connection.host}: ${error.message}`, error.code, error.code === ErrorCode.OVERLOADED);
}
