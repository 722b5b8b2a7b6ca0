import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_BYTES = 8;
const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** A body is at most what a message with its overflow may have. */
const MAX_BODY_BYTES = 512 * 1024 * 1024;

/** Of 32 bytes each. */
export interface JournalKeys {
  /** Encrypts what comes; null: nothing does. */
  readonly current: Uint8Array | null;
  /** Still open what was encrypted with them. */
  readonly previous: readonly Uint8Array[];
}

/** A body as it lies on the disk. */
export interface SealedBody {
  /** Which key opens it; null: none is needed. */
  readonly keyId: Uint8Array | null;
  readonly nonce: Uint8Array | null;
  /** Compressed; encrypted with its tag behind it where there is a key. */
  readonly body: Uint8Array;
}

/** The key that opens a body is not among those of the configuration. */
export class KeyMissingError extends Error {}

/** Compresses bodies of the journal and encrypts them, if there is a key. */
export class BodyCipher {
  readonly #key: Uint8Array | null;
  readonly #keyId: Uint8Array | null;
  readonly #keys = new Map<string, Uint8Array>();

  constructor({ current, previous }: JournalKeys) {
    this.#key = current;
    this.#keyId = current && keyIdOf(current);
    for (const key of current ? [current, ...previous] : previous) this.#keys.set(hexOf(keyIdOf(key)), key);
  }

  /** Whether it has the key of this name. */
  knows(keyId: Uint8Array): boolean {
    return this.#keys.has(hexOf(keyId));
  }

  /** @param context bound to the body: opening it under another one fails */
  seal(body: string, context: string): SealedBody {
    const plain = zstdCompressSync(body, FAST);
    if (this.#key === null) return { keyId: null, nonce: null, body: plain };
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, this.#key, nonce).setAAD(Buffer.from(context));
    return {
      keyId: this.#keyId,
      nonce,
      body: Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]),
    };
  }

  /** @throws KeyMissingError; Error when it is not what was sealed */
  open({ keyId, nonce, body }: SealedBody, context: string): string {
    return zstdDecompressSync(this.#decrypt(keyId, nonce, body, context), {
      maxOutputLength: MAX_BODY_BYTES,
    }).toString('utf8');
  }

  #decrypt(keyId: Uint8Array | null, nonce: Uint8Array | null, body: Uint8Array, context: string): Uint8Array {
    if (keyId === null || nonce === null) return body;
    const key = this.#keys.get(hexOf(keyId));
    if (key === undefined) throw new KeyMissingError('no key of the configuration opens it');
    const end = body.length - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(context)).setAuthTag(body.subarray(end));
    return Buffer.concat([decipher.update(body.subarray(0, end)), decipher.final()]);
  }
}

function keyIdOf(key: Uint8Array): Uint8Array {
  return createHash('sha256').update(key).digest().subarray(0, KEY_ID_BYTES);
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
