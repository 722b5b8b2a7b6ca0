import { readFileSync, statSync } from 'node:fs';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { describeError, PrerequisiteError } from '#core/errors.ts';

/** The PEM files of one side; null: none. */
export interface CertificateFiles {
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

type Material = Pick<SecureContextOptions, 'ca' | 'cert' | 'key' | 'minVersion'>;

const MIN_VERSION = 'TLSv1.2';
const WATCH_MS = 5_000;

/**
 * The certificates of one side of the proxy, read again when their files change: whoever connects from then on gets the
 * new ones, and nobody is disconnected. Files that do not fit together (the one was replaced, the other not yet) leave
 * what is in force as it is.
 */
export class Certificates {
  readonly #files: CertificateFiles;
  readonly #setting: string;
  #material: Material;
  #context: SecureContext;
  #stamp: string;
  #watcher: NodeJS.Timeout | undefined;

  /**
   * @param setting where the files are named, for messages: `origin.tls`
   * @throws PrerequisiteError naming the file and the remedy
   */
  constructor(files: CertificateFiles, setting: string) {
    this.#files = files;
    this.#setting = setting;
    this.#stamp = stampOf(files);
    this.#material = readMaterial(files, setting);
    this.#context = contextOf(this.#material, setting);
  }

  get context(): SecureContext {
    return this.#context;
  }

  /** For `tls.Server`, which makes its context itself. */
  get material(): Material {
    return this.#material;
  }

  /** Takes what the files hold now. @throws PrerequisiteError, and then all stays as it was */
  #reload(): void {
    const stamp = stampOf(this.#files);
    const material = readMaterial(this.#files, this.#setting);
    const context = contextOf(material, this.#setting);
    this.#stamp = stamp;
    this.#material = material;
    this.#context = context;
  }

  /** Looks at the files now and then, whatever the file system tells of changes (mounted secrets tell nothing). */
  watch(onChange: () => void, onFault: (message: string) => void, everyMs: number = WATCH_MS): void {
    let toldOf: string | undefined;
    this.#watcher = setInterval(() => {
      const stamp = stampOf(this.#files);
      if (stamp === this.#stamp) return;
      try {
        this.#reload();
        toldOf = undefined;
        onChange();
      } catch (error) {
        // Looked at again each time, because the other file may follow; told of once.
        if (toldOf !== stamp) onFault(describeError(error));
        toldOf = stamp;
      }
    }, everyMs);
    this.#watcher.unref();
  }

  close(): void {
    clearInterval(this.#watcher);
  }
}

/** Changes when a file does; a link that points elsewhere counts. */
function stampOf({ caFile, certFile, keyFile }: CertificateFiles): string {
  return [caFile, certFile, keyFile]
    .map((file) => {
      try {
        const stat = file === null ? undefined : statSync(file, { throwIfNoEntry: false });
        return stat ? `${stat.ino}:${stat.size}:${stat.mtimeMs}` : '-';
      } catch {
        // Whoever reads it says which file and why.
        return '!';
      }
    })
    .join(' ');
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
