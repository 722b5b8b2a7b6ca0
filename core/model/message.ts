/** What travels through the queue: failed writes in bundles, and places of the ring to bring together. */
import { z } from 'zod';
import { describeError, MessageInvalidError } from '../errors.ts';
import { type ReasonCode, reasonCodes } from '../ledger/reasons.ts';
import type { ClusterName } from './cluster-name.ts';
import {
  type FailedWrite,
  failedWriteFromJson,
  failedWriteJson,
  failedWriteToJson,
  tokenText,
} from './failed-write.ts';

export type Message = WritesMessage | CopyMessage;

/** Failed writes that travel together; each has its own outcome. */
export interface WritesMessage {
  readonly kind: 'writes';
  /** The proxy instance that sent it. */
  readonly instance: string;
  /** ISO 8601. */
  readonly enqueuedAt: string;
  readonly writes: readonly FailedWrite[];
}

/** Partitions of a table to read on both clusters and to make the same, since the writes themselves are not known. */
export interface CopyMessage {
  readonly kind: 'copy';
  readonly id: string;
  readonly keyspace: string;
  readonly table: string;
  /** Of the partitions; of several with the same token all are meant. At most `MAX_PLACES`. */
  readonly tokens: readonly bigint[];
  /** The cluster that may lack something; null: either. */
  readonly lacking: ClusterName | null;
  /** Why. */
  readonly code: ReasonCode;
  /** Which attempt comes next: 1 when it is queued, one more each time its places could not be brought together. */
  readonly attempts: number;
  /** ISO 8601. */
  readonly enqueuedAt: string;
  /** The proxy instance that sent it. */
  readonly instance: string;
  /** Not before this instant, ISO 8601. */
  readonly notBefore?: string;
}

/** Places of one message; what has more of them sends several. */
export const MAX_PLACES = 2_000;

/** Writes of one message. */
export const MAX_WRITES = 10_000;

/** The largest body that is decoded; the queue's own limit is far below, an overflow object may be bigger. Characters. */
export const MAX_MESSAGE_CHARACTERS = 512 * 1024 * 1024;

const MAX_FAULTS = 10;

const version = z.literal(1);
const instance = z.string().min(1).max(200);

const messageJson = z.discriminatedUnion('kind', [
  z.strictObject({
    version,
    kind: z.literal('writes'),
    instance,
    enqueuedAt: z.iso.datetime(),
    writes: z.array(failedWriteJson).min(1).max(MAX_WRITES),
  }),
  z.strictObject({
    version,
    kind: z.literal('copy'),
    id: z.string().min(1).max(200),
    keyspace: z.string().min(1).max(200),
    table: z.string().min(1).max(200),
    tokens: z.array(tokenText).min(1).max(MAX_PLACES),
    lacking: z.enum(['origin', 'target']).nullable(),
    code: z.enum(reasonCodes),
    attempts: z.int().min(0),
    enqueuedAt: z.iso.datetime(),
    instance,
    notBefore: z.iso.datetime().optional(),
  }),
]);

/** The message's body for the queue: JSON of version 1, one line. */
export function encodeMessage(message: Message): string {
  if (message.kind === 'writes') {
    return bundleOf(message.instance, message.enqueuedAt, message.writes.map(encodeWrite));
  }
  return encodeForQueue({ version: 1, ...message, tokens: message.tokens.map(String) });
}

/** Whether a body is of places, by how it begins; what another program has encoded may be one all the same. */
export function isCopyText(body: string): boolean {
  return body.startsWith('{"version":1,"kind":"copy",');
}

/** One write as it stands in its message, so that a sender can count bytes before it bundles. */
export function encodeWrite(write: FailedWrite): string {
  return encodeForQueue(failedWriteToJson(write));
}

/** The body of a message of writes that are encoded already; it is as long as they are and about 200 characters more. */
export function bundleOf(instance: string, enqueuedAt: string, encodedWrites: readonly string[]): string {
  const head = encodeForQueue({ version: 1, kind: 'writes', instance, enqueuedAt });
  return `${head.slice(0, -1)},"writes":[${encodedWrites.join(',')}]}`;
}

/** JSON that queues carry: they take what XML may hold, and U+FFFE and U+FFFF it may not. */
export function encodeForQueue(value: object): string {
  return JSON.stringify(value).replaceAll(/[\uFFFE\uFFFF]/g, (one) => `\\u${one.charCodeAt(0).toString(16)}`);
}

/**
 * @throws MessageInvalidError when the body is no JSON of version 1, lacks a timestamp, or is longer than
 *   `MAX_MESSAGE_CHARACTERS`; the message names paths and never values
 */
export function decodeMessage(text: string): Message {
  const parsed = messageJson.safeParse(parseJson(text));
  if (!parsed.success) {
    const faults = parsed.error.issues
      .slice(0, MAX_FAULTS)
      .map((issue) => `${issue.path.map(shown).join('.') || '(body)'}: ${issue.code}`);
    throw new MessageInvalidError(`the message is not of version 1: ${faults.join('; ')}`);
  }
  const { version: _, ...message } = parsed.data;
  return message.kind === 'writes'
    ? { ...message, writes: message.writes.map(failedWriteFromJson) }
    : { ...message, tokens: message.tokens.map(BigInt) };
}

/** A step of a path; names that clients chose (of markers) may be anything. */
function shown(step: PropertyKey): string {
  const text = String(step);
  return /^\w{1,40}$/.test(text) ? text : '…';
}

function parseJson(text: string): unknown {
  if (text.length > MAX_MESSAGE_CHARACTERS) {
    throw new MessageInvalidError('the message is longer than is ever written', { context: { length: text.length } });
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    // The parser's own message quotes the text, so only its kind is passed on.
    throw new MessageInvalidError(
      `the message is no JSON (${error instanceof Error ? error.name : describeError(error)})`,
    );
  }
}
