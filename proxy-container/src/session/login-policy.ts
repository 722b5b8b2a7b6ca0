import { timingSafeEqual } from 'node:crypto';
import type { Credentials, ResolvedLogins } from '#core/config/access-schema.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';

/** No mapping: every client is on both clusters what it says. */
export const NO_LOGINS: ResolvedLogins = {
  shadow: 'client',
  mapping: new Map(),
  anonymous: { origin: undefined, target: undefined },
};

/** How a login with user name and password is carried out on the primary. */
export type LoginPlan =
  /** The client's own login is sent to the primary, which decides. */
  | { readonly kind: 'relay' }
  /** Another one is sent to the primary, once the other cluster has accepted the client's own. */
  | { readonly kind: 'verifyElsewhere'; readonly credentials: Credentials }
  /** Another one is sent to the primary: the client gave one of the two that it stands for. */
  | { readonly kind: 'replace'; readonly credentials: Credentials }
  /** The client gave neither of the two. */
  | { readonly kind: 'refuse' };

/**
 * Who checks the login of a client whose name is in `proxy.logins.mapping`: always a cluster. Where both sides are mapped
 * no cluster knows the client's own login; then it must be one of the two, which the primary checks.
 * @param needsOther false: nothing may depend on the other cluster any more (`target-only`)
 */
export function planLogin(
  logins: ResolvedLogins,
  given: Credentials,
  primary: ClusterName,
  needsOther: boolean,
): LoginPlan {
  const mapped = logins.mapping.get(given.username);
  const credentials = mapped?.[primary];
  if (!mapped || !credentials) return { kind: 'relay' };
  const elsewhere = mapped[primary === 'origin' ? 'target' : 'origin'];
  if (elsewhere) {
    return isSame(given, credentials) || isSame(given, elsewhere)
      ? { kind: 'replace', credentials }
      : { kind: 'refuse' };
  }
  return needsOther ? { kind: 'verifyElsewhere', credentials } : { kind: 'relay' };
}

/** In a time that does not tell how much of it is right. */
function isSame(given: Credentials, wanted: Credentials): boolean {
  const [left, right] = [given, wanted].map(({ username, password }) =>
    Buffer.from(JSON.stringify([username, password])),
  );
  return left!.length === right!.length && timingSafeEqual(left!, right!);
}
