import { encodePlainToken } from '#core/cql/handshake-messages.ts';

/**
 * Answers a server's SASL exchange. A proxy hands the steps to its client instead of answering them.
 * The first step carries the name of the server's authenticator, every later one a challenge.
 */
export type Authenticator = (
  step:
    | { readonly kind: 'authenticate'; readonly authenticator: string }
    | { readonly kind: 'challenge'; readonly token: Buffer | null },
) => Promise<Uint8Array | null> | Uint8Array | null;

/** SASL PLAIN, which PasswordAuthenticator and its relatives speak. DSE asks which mechanism it will be. */
export function plainAuthenticator(username: string, password: string): Authenticator {
  return (step) => {
    if (step.kind === 'authenticate' && step.authenticator.endsWith('.DseAuthenticator')) return Buffer.from('PLAIN');
    return encodePlainToken(username, password);
  };
}
