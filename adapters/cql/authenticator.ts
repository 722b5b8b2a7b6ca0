import { encodePlainToken } from '#core/cql/handshake-messages.ts';
import { AuthenticationFailedError } from '#core/errors.ts';

/**
 * Answers a server's SASL exchange. A proxy hands the steps to its client instead of answering them.
 * The first step carries the name of the server's authenticator, every later one a challenge.
 */
export type Authenticator = (
  step:
    | { readonly kind: 'authenticate'; readonly authenticator: string }
    | { readonly kind: 'challenge'; readonly token: Buffer | null },
) => Promise<Uint8Array | null> | Uint8Array | null;

/** DSE asks for the mechanism first, and answers with a challenge of its own when it is PLAIN. */
export const DSE_PLAIN = Buffer.from('PLAIN');
const DSE_PLAIN_START = Buffer.from('PLAIN-START');

/**
 * SASL PLAIN, which PasswordAuthenticator and its relatives speak. The password goes to no server that asks for something
 * else.
 * @throws AuthenticationFailedError to a challenge of another mechanism
 */
export function plainAuthenticator(username: string, password: string): Authenticator {
  return (step) => {
    if (step.kind === 'authenticate' && step.authenticator.endsWith('.DseAuthenticator')) return DSE_PLAIN;
    if (step.kind === 'challenge' && !step.token?.equals(DSE_PLAIN_START)) {
      throw new AuthenticationFailedError('the node takes no login with user name and password (SASL PLAIN)');
    }
    return encodePlainToken(username, password);
  };
}

/** Of somebody who has no login: whoever asks for one is told why there is none. */
export function noLogin(message: string): Authenticator {
  return () => {
    throw new AuthenticationFailedError(message);
  };
}
