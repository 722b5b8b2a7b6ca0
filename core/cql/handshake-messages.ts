import { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';

/** Messages before the first request: sections 4.1.1 to 4.1.3, 4.1.8, 4.2.2 to 4.2.4, 4.2.7, 4.2.8 and 4.2.6. */

/** STARTUP is a [string map]: CQL_VERSION, COMPRESSION, DRIVER_NAME, … */
export function encodeStartup(options: ReadonlyMap<string, string>): Buffer {
  return new BodyWriter().stringMap(options).toBuffer();
}

export function decodeStartup(body: Buffer): Map<string, string> {
  return new BodyReader(body).stringMap();
}

/** SUPPORTED is a [string multimap]. */
export function encodeSupported(options: ReadonlyMap<string, readonly string[]>): Buffer {
  return new BodyWriter().stringMultimap(options).toBuffer();
}

export function decodeSupported(body: Buffer): Map<string, string[]> {
  return new BodyReader(body).stringMultimap();
}

/** AUTHENTICATE is a [string], the server's authenticator class. */
export function encodeAuthenticate(authenticator: string): Buffer {
  return new BodyWriter().string(authenticator).toBuffer();
}

export function decodeAuthenticate(body: Buffer): string {
  return new BodyReader(body).string();
}

/** AUTH_RESPONSE, AUTH_CHALLENGE and AUTH_SUCCESS are one [bytes]. */
export function encodeAuthToken(token: Uint8Array | null): Buffer {
  return new BodyWriter(4 + (token?.length ?? 0)).bytes(token).toBuffer();
}

export function decodeAuthToken(body: Buffer): Buffer | null {
  return new BodyReader(body).bytes();
}

/** The initial response of SASL PLAIN (RFC 4616), with no authorization identity. */
export function encodePlainToken(username: string, password: string): Buffer {
  return Buffer.from(`\0${username}\0${password}`);
}

/** Username and password of a PLAIN response, or undefined when it is of another mechanism. */
export function decodePlainToken(token: Buffer): { username: string; password: string } | undefined {
  const first = token.indexOf(0);
  const second = token.indexOf(0, first + 1);
  if (first < 0 || second < 0 || token.indexOf(0, second + 1) >= 0) return undefined;
  return { username: token.toString('utf8', first + 1, second), password: token.toString('utf8', second + 1) };
}

/** REGISTER is a [string list] of TOPOLOGY_CHANGE, STATUS_CHANGE, SCHEMA_CHANGE. */
export function encodeRegister(eventTypes: readonly string[]): Buffer {
  return new BodyWriter().stringList(eventTypes).toBuffer();
}

export function decodeRegister(body: Buffer): string[] {
  return new BodyReader(body).stringList();
}
