/** The ledger in a bucket, changed by conditional writes (`If-Match`, `If-None-Match`). */
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { LedgerConflictError, LedgerUnavailableError } from '#core/errors.ts';
import { readEntries } from '#core/ledger/read-entries.ts';
import type { LedgerStore, Versioned } from '#core/ports.ts';

/** The version of a record is the object's ETag. */
export function createS3LedgerStore(client: S3Client, bucket: string, prefix: string): LedgerStore {
  const unavailable = (key: string, cause: unknown) =>
    new LedgerUnavailableError(
      `the ledger s3://${bucket}/${prefix}${key} can't be reached: ${(cause as Error).message || (cause as Error).name}`,
      { cause, context: { bucket, key } },
    );

  const conflict = (key: string, cause: unknown) =>
    new LedgerConflictError(`the ledger's record ${key} was changed by another`, { cause, context: { key } });

  async function get(key: string): Promise<Versioned | undefined> {
    try {
      const found = await client.send(new GetObjectCommand({ Bucket: bucket, Key: prefix + key }));
      const value = await found.Body?.transformToString('utf8');
      if (value === undefined || found.ETag === undefined) throw new Error('an answer without body or ETag');
      return { value, version: found.ETag };
    } catch (cause) {
      if (isMissing(cause)) return undefined;
      throw unavailable(key, cause);
    }
  }

  async function* list(keyPrefix: string): AsyncGenerator<string, void> {
    let token: string | undefined;
    do {
      const page = await client
        .send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix + keyPrefix, ContinuationToken: token }))
        .catch((cause) => {
          throw unavailable(keyPrefix, cause);
        });
      for (const object of page.Contents ?? []) if (object.Key) yield object.Key.slice(prefix.length);
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  return {
    get,
    async has(key) {
      try {
        await client.send(new HeadObjectCommand({ Bucket: bucket, Key: prefix + key }));
        return true;
      } catch (cause) {
        if (isMissing(cause)) return false;
        throw unavailable(key, cause);
      }
    },
    async put(key, value, expectedVersion) {
      try {
        const put = await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: prefix + key,
            Body: value,
            ContentType: 'application/json',
            ...(expectedVersion === null ? { IfNoneMatch: '*' } : {}),
            ...(typeof expectedVersion === 'string' ? { IfMatch: expectedVersion } : {}),
          }),
        );
        if (put.ETag === undefined) throw new Error('an answer without ETag');
        return put.ETag;
      } catch (cause) {
        const status = statusOf(cause);
        // 412: the condition failed; 409: another conditional write was under way; 404: If-Match on a deleted key.
        const isConflict = status === 412 || status === 409 || (status === 404 && typeof expectedVersion === 'string');
        if (!isConflict) throw unavailable(key, cause);
        // The client asks again when an answer is lost: then the condition fails by what this very write has left.
        const own = attemptsOf(cause) > 1 ? await get(key) : undefined;
        if (own?.value === value) return own.version;
        throw conflict(key, cause);
      }
    },
    list,
    entries: (keyPrefix) => readEntries(list(keyPrefix), get),
    async remove(key, expectedVersion) {
      try {
        await client.send(
          new DeleteObjectCommand({
            Bucket: bucket,
            Key: prefix + key,
            ...(expectedVersion === undefined ? {} : { IfMatch: expectedVersion }),
          }),
        );
      } catch (cause) {
        const status = statusOf(cause);
        if (status === 412 || status === 409) throw conflict(key, cause);
        if (status === 404 && expectedVersion !== undefined) {
          if (attemptsOf(cause) > 1) return;
          throw conflict(key, cause);
        }
        throw unavailable(key, cause);
      }
    },
    async close() {
      client.destroy();
    },
  };
}

function isMissing(cause: unknown): boolean {
  return statusOf(cause) === 404 && (cause as Error).name !== 'NoSuchBucket';
}

function attemptsOf(cause: unknown): number {
  return (cause as { $metadata?: { attempts?: number } }).$metadata?.attempts ?? 1;
}

function statusOf(cause: unknown): number | undefined {
  return (cause as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
}
