import { readFile } from 'node:fs/promises';
import type { ConnectionOptions as TlsConnectOptions } from 'node:tls';
import type { ClusterConfig } from '#core/config/schema.ts';
import { PrerequisiteError } from '#core/errors.ts';

/** What `node:tls` needs beside host and port. */
export type TlsOptions = Pick<TlsConnectOptions, 'ca' | 'cert' | 'key' | 'checkServerIdentity'>;

/**
 * Reads the files of a cluster's `tls` section; undefined when TLS is off. The certificate chain is always verified,
 * the host name unless `verifyHostname` is false.
 * @throws PrerequisiteError naming the file that can't be read
 */
export async function readTlsOptions(tls: ClusterConfig['tls']): Promise<TlsOptions | undefined> {
  if (!tls.enabled) return undefined;
  const [ca, cert, key] = await Promise.all([tls.caFile, tls.certFile, tls.keyFile].map(readOptional));
  return {
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
    ...(tls.verifyHostname ? {} : { checkServerIdentity: () => undefined }),
  };
}

async function readOptional(path: string | null): Promise<Buffer | undefined> {
  if (path === null) return undefined;
  try {
    return await readFile(path);
  } catch (cause) {
    throw new PrerequisiteError(`the TLS file ${path} can't be read; correct the path or its permissions`, { cause });
  }
}
