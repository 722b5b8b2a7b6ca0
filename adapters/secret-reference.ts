import { readFile } from 'node:fs/promises';
import { ConfigError } from '#core/errors.ts';

const FILE = 'file:';
const SECRETS_MANAGER = 'secretsmanager:';
const KEY_BYTES = 32;

/**
 * The text that `file:PATH` or `secretsmanager:NAME` refers to, without white space around it.
 * @param path in the configuration, for messages
 * @throws ConfigError, PrerequisiteError, AuthenticationFailedError naming the reference, never its value
 */
async function readReference(path: string, reference: string): Promise<string> {
  if (reference.startsWith(FILE)) {
    const file = reference.slice(FILE.length);
    try {
      return (await readFile(file, 'utf8')).trim();
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      throw new ConfigError('the configuration', [{ path, message: `the secret file ${file} can't be read: ${code}` }]);
    }
  }
  if (!reference.startsWith(SECRETS_MANAGER)) {
    const message = 'must refer to a secret: file:PATH or secretsmanager:NAME';
    throw new ConfigError('the configuration', [{ path, message }]);
  }
  const [{ createSecretsManagerClient }, { createSecretReader }] = await Promise.all([
    import('./aws-clients.ts'),
    import('./secrets.ts'),
  ]);
  return (await createSecretReader(createSecretsManagerClient()).text(reference.slice(SECRETS_MANAGER.length))).trim();
}

/**
 * The key of 32 bytes that a reference leads to, where it stands in base64.
 * @throws ConfigError when it is none; as above
 */
export async function readKey(path: string, reference: string): Promise<Uint8Array> {
  const text = await readReference(path, reference);
  const key = Buffer.from(text, 'base64');
  if (key.length !== KEY_BYTES || key.toString('base64') !== text) {
    const message = `${reference} must hold ${KEY_BYTES} bytes in base64: make them with openssl rand -base64 ${KEY_BYTES}`;
    throw new ConfigError('the configuration', [{ path, message }]);
  }
  return key;
}
