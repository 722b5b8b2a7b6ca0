import { encodeError } from '#core/cql/error-message.ts';
import {
  decodeAuthToken,
  decodePlainToken,
  encodeAuthenticate,
  encodeAuthToken,
} from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import type { MockLogin, MockReply } from './mock-cluster.ts';

const error = (code: number, message: string): MockReply => ({
  opcode: Opcode.ERROR,
  body: encodeError({ code, message }, 4),
});
const wrongLogin = (): MockReply => error(ErrorCode.AUTH_ERROR, 'Provided username and/or password are incorrect');

/** User name and password, as PasswordAuthenticator asks for them, and what each user may not do. */
export class PasswordLogin implements MockLogin {
  /** By user name. */
  readonly passwords: Map<string, string>;
  /** Texts that a user may not send. */
  readonly forbidden = new Map<string, RegExp>();
  /** Logins that were accepted, in order. */
  readonly accepted: string[] = [];
  readonly #users = new WeakMap<object, string>();

  constructor(passwords: Readonly<Record<string, string>>) {
    this.passwords = new Map(Object.entries(passwords));
  }

  answer(opcode: number, body: Buffer, connection: object): MockReply {
    if (opcode === Opcode.STARTUP) {
      return {
        opcode: Opcode.AUTHENTICATE,
        body: encodeAuthenticate('org.apache.cassandra.auth.PasswordAuthenticator'),
      };
    }
    const given = decodePlainToken(decodeAuthToken(body) ?? Buffer.alloc(0));
    if (!given || this.passwords.get(given.username) !== given.password) return wrongLogin();
    this.#users.set(connection, given.username);
    this.accepted.push(given.username);
    return { opcode: Opcode.AUTH_SUCCESS, body: encodeAuthToken(null) };
  }

  refusal(text: string, connection: object): MockReply | undefined {
    const user = this.#users.get(connection);
    if (user === undefined) return error(ErrorCode.UNAUTHORIZED, 'You have not logged in');
    const isForbidden = this.forbidden.get(user)?.test(text) ?? false;
    return isForbidden ? error(ErrorCode.UNAUTHORIZED, `User ${user} has no MODIFY permission`) : undefined;
  }
}

/** A mechanism of three steps, each with a challenge of its own: nothing of it can be said twice. */
export class ThreeStepLogin implements MockLogin {
  readonly #steps = new WeakMap<object, number>();
  connectionCount = 0;

  answer(opcode: number, body: Buffer, connection: object): MockReply {
    if (opcode === Opcode.STARTUP) {
      this.#steps.set(connection, 0);
      return { opcode: Opcode.AUTHENTICATE, body: encodeAuthenticate('com.example.ThreeStepAuthenticator') };
    }
    const step = (this.#steps.get(connection) ?? 0) + 1;
    this.#steps.set(connection, step);
    if (decodeAuthToken(body)?.toString() !== `step ${step}`) return wrongLogin();
    if (step < 3) return { opcode: Opcode.AUTH_CHALLENGE, body: encodeAuthToken(Buffer.from(`challenge ${step}`)) };
    this.connectionCount++;
    return { opcode: Opcode.AUTH_SUCCESS, body: encodeAuthToken(Buffer.from('welcome')) };
  }

  refusal(_text: string, connection: object): MockReply | undefined {
    return this.#steps.get(connection) === 3 ? undefined : error(ErrorCode.UNAUTHORIZED, 'You have not logged in');
  }
}
