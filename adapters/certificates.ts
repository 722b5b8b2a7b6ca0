import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { PrerequisiteError } from '#core/errors.ts';
import { WatchedFiles } from './watched-files.ts';

/** The PEM files of one side; null: none. */
export interface CertificateFiles {
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

type Material = Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'minVersion'>;

/** Certificates in force. */
interface InForce {
  /** For `tls.Server`, which makes its context itself. */
  readonly material: Material;
  readonly context: SecureContext;
}

export type Certificates = WatchedFiles<InForce>;

const MIN_VERSION = 'TLSv1.2';

/**
 * The certificates of one side, read again when their files change: whoever connects from then on gets the new ones, and
 * nobody is disconnected.
 * @param setting where the files are named, for messages: `origin.tls`
 * @throws PrerequisiteError naming the file and the remedy
 */
export function openCertificates(files: CertificateFiles, setting: string): Certificates {
  return new WatchedFiles(setting, [files.caFile, files.certFile, files.keyFile], () => {
    const material = readMaterial(files, setting);
    return { material, context: contextOf(material, setting) };
  });
}

function readMaterial({ caFile, certFile, keyFile }: CertificateFiles, setting: string): Material {
  const read = (file: string, key: string): Buffer => {
    try {
      return readFileSync(file);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
      throw new PrerequisiteError(
        `${setting}.${key}: the file ${file} can't be read (${code}); correct the path or its permissions`,
      );
    }
  };
  return {
    minVersion: MIN_VERSION,
    ...(caFile === null ? {} : { ca: read(caFile, 'caFile') }),
    ...(certFile === null ? {} : { cert: read(certFile, 'certFile') }),
    ...(keyFile === null ? {} : { key: read(keyFile, 'keyFile') }),
  };
}

/** OpenSSL's own texts are not passed on: they may hold what it found in a file. */
function contextOf(material: Material, setting: string): SecureContext {
  try {
    return createSecureContext(material);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    const what = code.includes('KEY_VALUES_MISMATCH')
      ? 'certFile and keyFile do not belong together'
      : `certFile, keyFile or caFile is no PEM file, or the key has a passphrase (${code || 'not understood'})`;
    throw new PrerequisiteError(`${setting}: ${what}; replace the files, both before the proxy looks at them again`);
  }
}
