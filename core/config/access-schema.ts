/** The parts of `migration.yaml` that say who may come in, and by which certificates. */
import { z } from 'zod';

/** A login of a cluster. */
export const authSchema = z.union([
  z.strictObject({
    username: z.string().min(1).describe('User name'),
    password: z.string().describe('Password, or ${ENV}, file:PATH or secretsmanager:NAME'),
  }),
  z.strictObject({
    secret: z.string().startsWith('secretsmanager:').describe('A secret of the form {"username","password"}'),
  }),
]);

export type Auth = z.output<typeof authSchema>;

/** TLS towards a cluster. */
export const tlsSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    caFile: z.string().nullable().default(null),
    certFile: z.string().nullable().default(null),
    keyFile: z.string().nullable().default(null),
    verifyHostname: z.boolean().default(true),
  })
  .superRefine(requirePairs)
  .superRefine(requireEnabled)
  .prefault({});

/** TLS towards clients. */
export const listenTlsSchema = z
  .strictObject({
    certFile: z
      .string()
      .min(1)
      .describe('PEM: the certificate of the proxy, then those in between up to the authority'),
    keyFile: z.string().min(1).describe('PEM, without a passphrase'),
    caFile: z.string().min(1).nullable().default(null).describe('PEM: who signs the certificates of clients'),
    requireClientCertificate: z
      .boolean()
      .default(false)
      .describe('Clients without a certificate of caFile are refused'),
  })
  .superRefine((value, context) => {
    if (value.requireClientCertificate && value.caFile === null) {
      const message = 'is needed by requireClientCertificate: the authority that signs the certificates of clients';
      context.addIssue({ code: 'custom', path: ['caFile'], message });
    }
  });

const pair = {
  origin: authSchema.nullable().default(null),
  target: authSchema.nullable().default(null),
};

/** Which logins the proxy uses for which client. */
export const loginsSchema = z
  .strictObject({
    shadow: z
      .enum(['client', 'own'])
      .default('client')
      .describe(
        "Who writes to the shadow: the client's own login (or its mapping), or the proxy's (origin.auth, target.auth)",
      ),
    mapping: z
      .record(z.string().min(1), z.strictObject(pair))
      .default({})
      .describe('User name of a client -> its login on the origin, on the target; null: the one that it gives'),
    anonymous: z
      .strictObject(pair)
      .prefault({})
      .describe(
        'Login of clients, none of which is asked for one, on a cluster that demands one; null: clients are asked',
      ),
  })
  .superRefine((value, context) => {
    for (const [user, { origin, target }] of Object.entries(value.mapping)) {
      if (origin !== null || target !== null) continue;
      context.addIssue({
        code: 'custom',
        path: ['mapping', user],
        message: 'names a login neither of origin nor of target',
      });
    }
  })
  .prefault({});

function requirePairs(
  value: { readonly certFile: string | null; readonly keyFile: string | null },
  context: z.RefinementCtx,
): void {
  for (const [given, missing] of [
    ['certFile', 'keyFile'],
    ['keyFile', 'certFile'],
  ] as const) {
    if (value[given] === null || value[missing] !== null) continue;
    context.addIssue({ code: 'custom', path: [missing], message: `is needed beside ${given}` });
  }
}

/** Files that are named and not used look like TLS that is on. */
function requireEnabled(
  value: Readonly<Record<'caFile' | 'certFile' | 'keyFile', string | null>> & { readonly enabled: boolean },
  context: z.RefinementCtx,
): void {
  if (value.enabled) return;
  for (const key of ['caFile', 'certFile', 'keyFile'] as const) {
    if (value[key] === null) continue;
    const message = 'is not used while enabled is false; set enabled: true, or leave it out';
    context.addIssue({ code: 'custom', path: [key], message });
  }
}

/** User name and password, as a session sends them. Never log them. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** What a client is on each cluster; undefined: as it says itself. */
export interface MappedLogin {
  readonly origin: Credentials | undefined;
  readonly target: Credentials | undefined;
}

/** `proxy.logins`, its secret references resolved. */
export interface ResolvedLogins {
  readonly shadow: 'client' | 'own';
  /** By the user name that the client gives. */
  readonly mapping: ReadonlyMap<string, MappedLogin>;
  readonly anonymous: MappedLogin;
}
