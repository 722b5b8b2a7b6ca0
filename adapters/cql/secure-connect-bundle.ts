import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { createSecureContext, type SecureContext } from 'node:tls';
import { unzipSync } from 'fflate';
import { z } from 'zod';
import { ClusterUnreachableError, describeError, PrerequisiteError } from '#core/errors.ts';
import { reasonOf } from './connection-errors.ts';

/** What a bundle may hold, unpacked, in each file. */
const MAX_FILE_BYTES = 1024 * 1024;
const BUNDLE_FILES: ReadonlySet<string> = new Set(['config.json', 'ca.crt', 'cert', 'key']);
const MAX_ANSWER_BYTES = 1024 * 1024;

const configFile = z.object({ host: z.string().min(1), port: z.coerce.number().int().min(1).max(65535) });
const metadata = z.object({
  contact_info: z.object({
    local_dc: z.string(),
    contact_points: z.array(z.string().min(1)).min(1).max(1000),
    sni_proxy_address: z.string().min(1),
  }),
});

/** A bundle's certificates, and where its service tells of the nodes. */
export interface SecureConnectBundle {
  readonly path: string;
  readonly host: string;
  readonly port: number;
  readonly context: SecureContext;
}

/** Where the nodes are now: each behind one proxy, which knows it by its host id (SNI). */
export interface BundlePlaces {
  readonly localDatacenter: string;
  /** Host ids. */
  readonly nodes: readonly string[];
  readonly proxyHost: string;
  readonly proxyPort: number;
}

/**
 * Reads a secure connect bundle, as Astra makes them: a zip with config.json, ca.crt, cert and key.
 * @param setting where the path is named, for messages: `target.secureConnectBundle`
 * @throws PrerequisiteError with what is missing in it
 */
export function readSecureConnectBundle(path: string, setting: string): SecureConnectBundle {
  const fault = (what: string): PrerequisiteError =>
    new PrerequisiteError(`${setting}: ${path} ${what}; download the bundle again`);
  let files: Map<string, Uint8Array>;
  try {
    files = unzip(readFileSync(path));
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    throw fault(syscall === undefined ? 'is no bundle' : `can't be read (${code})`);
  }
  const file = (name: string): Buffer => {
    const bytes = files.get(name);
    if (!bytes) throw fault(`has no ${name}`);
    return Buffer.from(bytes);
  };
  const config = configFile.safeParse(parseJson(file('config.json').toString('utf8')));
  if (!config.success) throw fault('has a config.json without host and port');
  const material = { ca: file('ca.crt'), cert: file('cert'), key: file('key') };
  try {
    const context = createSecureContext({ ...material, minVersion: 'TLSv1.2' });
    return { path, ...config.data, context };
  } catch {
    throw fault('has certificates that do not fit together');
  }
}

/** @throws Error when it is no archive, RangeError when a file in it says that it is too large */
function unzip(archive: Uint8Array): Map<string, Uint8Array> {
  const files = unzipSync(archive, {
    filter: ({ name, originalSize }) => {
      if (originalSize > MAX_FILE_BYTES) throw new RangeError(`${name} has more than ${MAX_FILE_BYTES} bytes`);
      return BUNDLE_FILES.has(name);
    },
  });
  return new Map(Object.entries(files));
}

/**
 * Asks the bundle's service where the nodes are.
 * @throws ClusterUnreachableError
 */
export async function findBundlePlaces(bundle: SecureConnectBundle, timeoutMs: number): Promise<BundlePlaces> {
  const { host, port } = bundle;
  const fail = (what: string, cause?: unknown): ClusterUnreachableError =>
    new ClusterUnreachableError(`the metadata service ${host}:${port} of the bundle ${what}`, {
      cause,
      context: { host, port },
    });
  let text: string;
  try {
    text = await getText(bundle, timeoutMs);
  } catch (error) {
    throw fail(`can't be asked: ${reasonOf(error) ?? describeError(error)}`, error);
  }
  const parsed = metadata.safeParse(parseJson(text));
  if (!parsed.success) throw fail('does not say where the nodes are');
  const { contact_points: nodes, local_dc: localDatacenter, sni_proxy_address: address } = parsed.data.contact_info;
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(address);
  const proxyPort = Number(match?.[2] ?? 0);
  if (!match || proxyPort < 1 || proxyPort > 65535)
    throw fail(`names a proxy without a port (${address.slice(0, 300)})`);
  return { localDatacenter, nodes, proxyHost: match[1]!, proxyPort };
}

function getText({ host, port, context }: SecureConnectBundle, timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const tls = { secureContext: context, rejectUnauthorized: true };
    const options = { host, port, path: '/metadata', ...tls, agent: false as const, signal };
    const asked = request(options, (response) => {
      const parts: Buffer[] = [];
      let length = 0;
      response.on('data', (part: Buffer) => {
        parts.push(part);
        length += part.length;
        if (length > MAX_ANSWER_BYTES) asked.destroy(new Error('its answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.concat(parts).toString('utf8'));
        else reject(new Error(`it answered with status ${response.statusCode}; is the database active?`));
      });
    });
    asked.on('error', (error) => {
      reject(signal.aborted ? new Error(`no answer within ${timeoutMs} ms`) : error);
    });
    asked.end();
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
