import { setTimeout as delay } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  paginateListObjectsV2,
  type S3Client,
} from '@aws-sdk/client-s3';
import { ObjectStoreError } from '#core/errors.ts';
import type { ByteSource, ObjectInfo, ObjectStore } from '#core/ports.ts';
import { isMissing, wrapS3Error } from './s3-errors.ts';

/** Attempts for a body that breaks off half-way; the SDK retries the request itself, not the body. */
const BODY_ATTEMPTS = 3;
const BODY_RETRY_DELAY_MS = 200;

/** Largest object that `get` holds in memory. Plans, manifests and reports are far below it. Bytes. */
const MAX_WHOLE_OBJECT_BYTES = 256 * 1024 * 1024;

/** A bucket as an object store. Large objects are read by range through `open`; `get` is for small ones. */
export function createS3ObjectStore(client: S3Client, bucket: string): ObjectStore {
  const name = `s3://${bucket}`;
  return {
    name,
    list: (prefix, signal) => listObjects(client, bucket, prefix, signal),
    async open(key, byteLength) {
      return openObject(client, bucket, key, byteLength);
    },
    async get(key, signal) {
      return withBodyRetries(signal, async () => {
        try {
          const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal: signal });
          const length = answer.ContentLength;
          if (length === undefined || length > MAX_WHOLE_OBJECT_BYTES) {
            throw new ObjectStoreError(
              `${name}/${key} has ${length ?? 'an unknown number of'} bytes, more than is read at once`,
              {
                context: { key, bytes: length },
              },
            );
          }
          return await readBody(answer.Body, length, `${name}/${key}`);
        } catch (error) {
          if (isMissing(error)) return undefined;
          throw wrapS3Error(error, `${name}/${key}`, 'read', signal);
        }
      });
    },
    async put(key, body, signal) {
      try {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }), { abortSignal: signal });
      } catch (error) {
        throw wrapS3Error(error, `${name}/${key}`, 'written', signal);
      }
    },
    async remove(key) {
      try {
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      } catch (error) {
        throw wrapS3Error(error, `${name}/${key}`, 'removed');
      }
    },
  };
}

/** Splits `s3://bucket/key` (the key may be empty); undefined for anything else. */
export function parseS3Uri(uri: string): { bucket: string; key: string } | undefined {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/s.exec(uri);
  return match?.[1] === undefined ? undefined : { bucket: match[1], key: match[2] ?? '' };
}

async function* listObjects(
  client: S3Client,
  bucket: string,
  prefix: string,
  signal?: AbortSignal,
): AsyncGenerator<ObjectInfo> {
  try {
    for await (const page of paginateListObjectsV2(
      { client },
      { Bucket: bucket, Prefix: prefix },
      { abortSignal: signal },
    )) {
      for (const object of page.Contents ?? []) {
        if (object.Key !== undefined) yield { key: object.Key, byteLength: object.Size ?? 0 };
      }
    }
  } catch (error) {
    throw wrapS3Error(error, `s3://${bucket}/${prefix}`, 'listed', signal);
  }
}

async function openObject(client: S3Client, bucket: string, key: string, known?: number): Promise<ByteSource> {
  const name = `s3://${bucket}/${key}`;
  // All reads of one source must see one object: the first answer's ETag is demanded of every later one.
  let etag: string | undefined;
  let byteLength = known;
  if (byteLength === undefined) {
    try {
      const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
      etag = head.ETag;
      byteLength = head.ContentLength ?? 0;
    } catch (error) {
      throw wrapS3Error(error, name, 'opened');
    }
  }
  const length = byteLength;
  return {
    name,
    byteLength: length,
    async read(start, end, signal) {
      if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= length)) {
        throw new RangeError(`${name}: [${start}, ${end}) is not within its ${length} bytes`);
      }
      if (start === end) return new Uint8Array(0);
      return withBodyRetries(signal, async () => {
        try {
          const answer = await client.send(
            new GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=${start}-${end - 1}`, IfMatch: etag }),
            { abortSignal: signal },
          );
          if (answer.$metadata.httpStatusCode !== 206) {
            destroyBody(answer.Body);
            throw new ObjectStoreError(
              `${name}: a range was asked for and status ${answer.$metadata.httpStatusCode} came back instead of 206`,
              { context: { name, start, end } },
            );
          }
          etag ??= answer.ETag;
          return await readBody(answer.Body, end - start, name);
        } catch (error) {
          throw wrapS3Error(error, name, 'read', signal);
        }
      });
    },
  };
}

/** Collects a body into one buffer of exactly the expected size, whatever the server said about its length. */
async function readBody(body: unknown, expectedBytes: number, name: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(expectedBytes);
  let filled = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    if (filled + chunk.byteLength > expectedBytes) {
      throw new ObjectStoreError(`${name}: more than the ${expectedBytes} bytes asked for came back`, {
        context: { name, expectedBytes },
      });
    }
    bytes.set(chunk, filled);
    filled += chunk.byteLength;
  }
  if (filled !== expectedBytes) {
    throw new ObjectStoreError(`${name}: ${filled} bytes came back instead of ${expectedBytes}`, {
      context: { name, expectedBytes, receivedBytes: filled },
    });
  }
  return bytes;
}

function destroyBody(body: unknown): void {
  (body as { destroy?: () => void } | undefined)?.destroy?.();
}

async function withBodyRetries<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
  for (let number = 1; ; number++) {
    try {
      return await attempt();
    } catch (error) {
      const brokeOff = error instanceof ObjectStoreError && error.context['status'] === undefined;
      if (!brokeOff || number >= BODY_ATTEMPTS) throw error;
      await delay(BODY_RETRY_DELAY_MS * number, undefined, { signal });
    }
  }
}
