/** Failed writes that are too large for a queue message: the body lies in the bucket, the message points there. */

import { z } from 'zod';
import { MessageInvalidError } from '#core/errors.ts';
import type { ObjectStore } from '#core/ports.ts';

/** Largest body that goes into a message; 6 KiB below the limit of SQS, for attributes. Bytes. */
const MAX_BODY_BYTES = 250 * 1024;

/** Keys of overflow objects; the bucket's lifecycle rule on this prefix outlives both queues' retention. */
const OVERFLOW_PREFIX = 'failed-writes/overflow/';

/** A CQL frame is at most 256 MiB; a larger pointer is not ours. */
const MAX_OVERFLOW_BYTES = 512 * 1024 * 1024;

const Pointer = z.strictObject({
  overflow: z.strictObject({
    key: z.string().startsWith(OVERFLOW_PREFIX).max(1024),
    byteLength: z.int().min(1).max(MAX_OVERFLOW_BYTES),
  }),
});

/**
 * The body as SQS takes it: itself, or a pointer to where it has been put under this id.
 * @throws ObjectStoreError
 */
export async function withOverflow(
  body: string,
  id: string,
  overflow: ObjectStore,
  signal?: AbortSignal,
): Promise<string> {
  const byteLength = Buffer.byteLength(body);
  if (byteLength <= MAX_BODY_BYTES) return body;
  const key = `${OVERFLOW_PREFIX}${encodeURIComponent(id)}`;
  await overflow.put(key, body, signal);
  return JSON.stringify({ overflow: { key, byteLength } });
}

/**
 * The body itself: the message's own, or the object's that it points to.
 * @throws MessageInvalidError when the pointer is broken or its object is gone; ObjectStoreError when S3 does not answer
 */
export async function resolveMessageBody(body: string, overflow: ObjectStore, signal?: AbortSignal): Promise<string> {
  // A failed write starts with its version; only a pointer starts like this, so most bodies are not parsed twice.
  if (!body.startsWith('{"overflow":')) return body;
  const pointer = Pointer.safeParse(parseJson(body));
  if (!pointer.success) {
    throw new MessageInvalidError(`the overflow pointer is not valid: ${z.prettifyError(pointer.error)}`);
  }
  const { key, byteLength } = pointer.data.overflow;
  const bytes = await overflow.get(key, signal);
  if (bytes === undefined) {
    throw new MessageInvalidError(`the body of this message is gone: ${overflow.name}/${key} does not exist`, {
      context: { key },
    });
  }
  if (bytes.byteLength !== byteLength) {
    throw new MessageInvalidError(
      `${overflow.name}/${key} has ${bytes.byteLength} bytes, its message says ${byteLength}`,
      { context: { key } },
    );
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
