/** Reads configuration files and resolves the secrets they refer to. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import type { Auth, Credentials, ResolvedLogins } from '#core/config/access-schema.ts';
import { type Environment, parseMigrationConfig, parseYamlAs } from '#core/config/parse.ts';
import type { ClusterConfig, MigrationConfig, ProxyConfig, ResolvedCluster } from '#core/config/schema.ts';
import { ConfigError, UsageError } from '#core/errors.ts';
import type { SecretReader } from './secrets.ts';

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new UsageError(
      `${what} ${path} ${missing ? 'does not exist' : `can't be read: ${(cause as Error).message}`}`,
      {
        cause,
      },
    );
  }
}

/** What else makes a configuration. */
export interface ConfigOverrides {
  /** Comes over the values of the file. */
  readonly change?: (value: unknown) => unknown;
  /** In the place of a file that is not there. */
  readonly textWhenAbsent?: string;
}

/**
 * Reads `migration.yaml`. Paths inside it are relative to it and come out absolute.
 * @throws UsageError when there is no such file, ConfigError with every fault
 */
export async function readMigrationConfig(
  path: string,
  env: Environment = process.env,
  more: ConfigOverrides = {},
): Promise<MigrationConfig> {
  const text = more.textWhenAbsent !== undefined && !existsSync(path) ? more.textWhenAbsent : undefined;
  const config = parseMigrationConfig(text ?? (await readText(path, 'the config file')), path, env, more.change);
  const base = dirname(resolve(path));
  const absolute = (file: string | null): string | null => (file === null ? null : resolve(base, file));
  const { listen } = config.proxy;
  return {
    ...config,
    origin: withAbsolutePaths(config.origin, absolute),
    target: withAbsolutePaths(config.target, absolute),
    proxy: {
      ...config.proxy,
      filterRules: absolute(config.proxy.filterRules),
      listen: { ...listen, tls: listen.tls && withAbsoluteFiles(listen.tls, base) },
    },
    bulkLoad: { ...config.bulkLoad, indexList: absolute(config.bulkLoad.indexList) },
  };
}

function withAbsolutePaths(cluster: ClusterConfig, absolute: (file: string | null) => string | null): ClusterConfig {
  const { tls, secureConnectBundle } = cluster;
  return {
    ...cluster,
    tls: {
      ...tls,
      caFile: absolute(tls.caFile),
      certFile: absolute(tls.certFile),
      keyFile: absolute(tls.keyFile),
    },
    secureConnectBundle: absolute(secureConnectBundle),
  };
}

function withAbsoluteFiles(
  tls: NonNullable<ProxyConfig['listen']['tls']>,
  base: string,
): NonNullable<ProxyConfig['listen']['tls']> {
  const caFile = tls.caFile === null ? null : resolve(base, tls.caFile);
  return { ...tls, certFile: resolve(base, tls.certFile), keyFile: resolve(base, tls.keyFile), caFile };
}

/** Reads any other YAML file by its schema. */
export async function readYamlFile<S extends z.ZodType>(
  schema: S,
  path: string,
  what: string,
  env: Environment = process.env,
): Promise<z.output<S>> {
  return parseYamlAs(schema, await readText(path, what), path, env);
}

type OpenSecrets = () => SecretReader | Promise<SecretReader>;

/** Loaded only where a secret is there: the SDK is large. */
async function openSecretsManager(): Promise<SecretReader> {
  const [{ createSecretsManagerClient }, { createSecretReader }] = await Promise.all([
    import('./aws-clients.ts'),
    import('./secrets.ts'),
  ]);
  return createSecretReader(createSecretsManagerClient());
}

/**
 * Resolves `file:` and `secretsmanager:` references.
 * @param name `origin` or `target`, for messages
 * @param openSecrets called only when there is a `secretsmanager:` reference
 * @throws ConfigError, PrerequisiteError naming the reference, never its value
 */
export async function resolveCluster(
  name: string,
  cluster: ClusterConfig,
  openSecrets: OpenSecrets = openSecretsManager,
): Promise<ResolvedCluster> {
  const { auth, ...rest } = cluster;
  return { ...rest, name, credentials: await resolveCredentials(`${name}.auth`, auth, openSecrets) };
}

/**
 * Resolves the secret references of `proxy.logins`.
 * @throws ConfigError, PrerequisiteError naming the reference, never its value
 */
export async function resolveLogins(
  logins: ProxyConfig['logins'],
  openSecrets: OpenSecrets = openSecretsManager,
): Promise<ResolvedLogins> {
  const pair = async (path: string, { origin, target }: ProxyConfig['logins']['anonymous']) => ({
    origin: (await resolveCredentials(`${path}.origin`, origin, openSecrets)) ?? undefined,
    target: (await resolveCredentials(`${path}.target`, target, openSecrets)) ?? undefined,
  });
  const mapping = new Map<string, Awaited<ReturnType<typeof pair>>>();
  for (const [user, login] of Object.entries(logins.mapping)) {
    mapping.set(user, await pair(`proxy.logins.mapping.${user}`, login));
  }
  return { shadow: logins.shadow, mapping, anonymous: await pair('proxy.logins.anonymous', logins.anonymous) };
}

const SECRETS_MANAGER = 'secretsmanager:';

async function resolveCredentials(
  path: string,
  auth: Auth | null,
  openSecrets: OpenSecrets,
): Promise<Credentials | null> {
  if (auth === null) return null;
  if ('secret' in auth) return (await openSecrets()).credentials(auth.secret.slice(SECRETS_MANAGER.length));
  if (auth.password.startsWith(SECRETS_MANAGER)) {
    const secret = await (await openSecrets()).credentials(auth.password.slice(SECRETS_MANAGER.length));
    return { username: auth.username, password: secret.password };
  }
  if (auth.password.startsWith('file:')) {
    const file = auth.password.slice('file:'.length);
    try {
      return { username: auth.username, password: (await readFile(file, 'utf8')).trimEnd() };
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      throw new ConfigError('the configuration', [
        { path: `${path}.password`, message: `the secret file ${file} can't be read: ${code}` },
      ]);
    }
  }
  return auth;
}
