import { GetSecretValueCommand, type SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { z } from 'zod';
import { AuthenticationFailedError, PrerequisiteError } from '#core/errors.ts';
import type { Clock } from '#core/ports.ts';

/** How long a secret is used before it is read again, so that a rotation is noticed. */
const DEFAULT_TTL_MS = 5 * 60_000;

const CredentialsSecret = z.object({ username: z.string().min(1), password: z.string() });

/** What a cluster's secret holds; other keys of it are ignored. Never log it. */
export type Credentials = z.infer<typeof CredentialsSecret>;

export interface SecretReader {
  /**
   * The secret's text, by name or ARN.
   * @throws PrerequisiteError when there is none, AuthenticationFailedError when it may not be read
   */
  text(name: string): Promise<string>;
  /** The secret as `{ "username": …, "password": … }`. @throws PrerequisiteError when it has another form */
  credentials(name: string): Promise<Credentials>;
  /** Forgets a secret, after a cluster refused it: the next call reads it again. */
  forget(name: string): void;
}

/** Reads secrets and keeps them in memory for `ttlMs`. Their values appear in no message. */
export function createSecretReader(
  client: SecretsManagerClient,
  clock: Clock = { nowMillis: Date.now },
  ttlMs = DEFAULT_TTL_MS,
): SecretReader {
  const cache = new Map<string, { value: Promise<string>; readAtMillis: number }>();
  const text = (name: string) => {
    const known = cache.get(name);
    if (known !== undefined && clock.nowMillis() - known.readAtMillis < ttlMs) return known.value;
    const entry = { value: readSecret(client, name), readAtMillis: clock.nowMillis() };
    cache.set(name, entry);
    entry.value.catch(() => {
      if (cache.get(name) === entry) cache.delete(name);
    });
    return entry.value;
  };
  return {
    text,
    async credentials(name) {
      const parsed = CredentialsSecret.safeParse(parseJson(await text(name)));
      // Not zod's own message: it could quote what it found.
      if (!parsed.success) {
        throw new PrerequisiteError(`secret ${name} must be JSON of the form {"username": "…", "password": "…"}`);
      }
      return parsed.data;
    },
    forget: (name) => cache.delete(name),
  };
}

async function readSecret(client: SecretsManagerClient, name: string): Promise<string> {
  let value: string | undefined;
  try {
    value = (await client.send(new GetSecretValueCommand({ SecretId: name }))).SecretString;
  } catch (error) {
    const code = error instanceof Error ? error.name : 'unknown';
    if (code === 'ResourceNotFoundException') {
      throw new PrerequisiteError(
        `there is no secret ${name}: create it with aws secretsmanager create-secret --name ${name} --secret-string '{"username": "…", "password": "…"}'`,
        { cause: error },
      );
    }
    if (code === 'AccessDeniedException') {
      throw new AuthenticationFailedError(`secret ${name} may not be read with these AWS credentials`, {
        cause: error,
      });
    }
    throw error;
  }
  if (value === undefined) throw new PrerequisiteError(`secret ${name} is binary; it must be a JSON text`);
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
