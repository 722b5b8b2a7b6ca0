/** Failed writes that are too large for a queue message: the body lies in the bucket, the message points there. */

import { z } from 'zod';
import { MessageInvalidError } from '#core/errors.ts';
import { encodeForQueue } from '#core/model/failed-write.ts';
import type { ObjectStore } from '#core/ports.ts';

/** Largest body that goes into a message; 6 KiB below the limit of SQS, for attributes. Bytes. */
export const MAX_BODY_BYTES = 250 * 1024;

/** Keys of overflow objects; the bucket's lifecycle rule on this prefix outlives both queues' retention. */
export const OVERFLOW_PREFIX = 'failed-writes/overflow/';

/** A CQL frame is at most 256 MiB; a larger pointer is not ours. */
const MAX_OVERFLOW_BYTES = 512 * 1024 * 1024;

const Pointer = z.strictObject({
  overflow: z.strictObject({
    key: z.string().startsWith(OVERFLOW_PREFIX).max(1024),
    byteLength: z.int().min(1).max(MAX_OVERFLOW_BYTES),
  }),
  /** In place of the object's own: the object is never written again. */
  attempts: z.int().min(1).optional(),
});
type OverflowPointer = z.infer<typeof Pointer>['overflow'];

/** Where the body of the message with this id lies. */
export function overflowKey(id: string): string {
  return `${OVERFLOW_PREFIX}${encodeURIComponent(id)}`;
}

/** The message that stands for an overflow object. */
export function encodeOverflowPointer(overflow: OverflowPointer): string {
  return JSON.stringify({ overflow });
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
  const { attempts } = pointer.data;
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
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  return attempts === undefined ? text : withAttempts(text, attempts);
}

/** A message as it is sent again: the same, with another number of attempts. @throws MessageInvalidError */
export function withAttempts(body: string, attempts: number): string {
  const message = parseJson(body);
  if (typeof message !== 'object' || message === null) throw new MessageInvalidError('the message is no JSON object');
  return encodeForQueue({ ...message, attempts });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
