import { randomUUID } from 'node:crypto';
import { describeError } from '#core/errors.ts';
import type { ReasonCode } from '#core/ledger/reasons.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { TableName, WrittenTable } from '#core/model/failed-write.ts';
import { bundleOf, encodeForQueue, encodeWrite, MAX_WRITES } from '#core/model/message.ts';
import { readChunk } from './chunk.ts';
import { FailedWriteReader } from './failed-write-of.ts';

/** A message on its way into the journal. */
export interface NewMessage {
  readonly id: string;
  readonly body: string;
  /** What becomes suspect when it is lost. */
  readonly tables: readonly TableName[];
  /** Of the oldest write in it. Milliseconds since the epoch. */
  readonly failedAtMs: number;
  readonly writes: number;
}

/** A write that no message can carry. */
export interface LostWrite {
  readonly tables: readonly WrittenTable[];
  readonly lacking: ClusterName | null;
  readonly code: ReasonCode;
  readonly reason: string;
}

export interface BundleLimits {
  /** The proxy's name. */
  readonly instance: string;
  /** Of the writes that travel in one message, together. */
  readonly bundleBytes: number;
  /** A write whose message is larger has nowhere to go. */
  readonly maxMessageBytes: number;
}

/** Of the message around one write, at the most. */
const ENVELOPE_BYTES = 1024;

/** Makes messages of chunks: as many writes in each as fit. */
export class Bundler {
  readonly #limits: BundleLimits;
  readonly #reader = new FailedWriteReader();

  constructor(limits: BundleLimits) {
    this.#limits = limits;
  }

  /** The messages of a chunk in the order of its writes, and what is in none of them. @throws RangeError when it is none */
  bundle(chunk: Buffer): { readonly messages: NewMessage[]; readonly lost: LostWrite[] } {
    const messages: NewMessage[] = [];
    const lost: LostWrite[] = [];
    let open = new OpenBundle();
    const close = (): void => {
      if (open.texts.length > 0) messages.push(open.close(this.#limits.instance));
      open = new OpenBundle();
    };
    for (const record of readChunk(chunk)) {
      if (record.kind === 'message') {
        close();
        const { text, tables, failedAtMs } = record;
        messages.push({ id: randomUUID(), body: text, tables, failedAtMs, writes: 1 });
        continue;
      }
      const { tables, destination: lacking, failedAtMs } = record;
      let text: string;
      try {
        text = encodeWrite(this.#reader.read(record, randomUUID()));
      } catch (error) {
        const reason = `a failed write can not be read: ${describeError(error)}`.slice(0, 500);
        lost.push({ tables, lacking, code: 'other', reason });
        continue;
      }
      const byteCount = Buffer.byteLength(text);
      if (byteCount + ENVELOPE_BYTES > this.#limits.maxMessageBytes) {
        const reason = 'a shadow write failed and is too large for the queue';
        lost.push({ tables, lacking, code: 'too-large', reason });
        continue;
      }
      if (open.byteCount + byteCount > this.#limits.bundleBytes || open.texts.length >= MAX_WRITES) close();
      open.add(text, byteCount, tables, failedAtMs);
    }
    close();
    return { messages, lost };
  }
}

class OpenBundle {
  readonly texts: string[] = [];
  byteCount = 0;
  readonly #tables = new Map<string, TableName>();
  #failedAtMs = Number.POSITIVE_INFINITY;

  add(text: string, byteCount: number, tables: readonly TableName[], failedAtMs: number): void {
    this.texts.push(text);
    this.byteCount += byteCount;
    for (const { keyspace, table } of tables) this.#tables.set(`${keyspace}.${table}`, { keyspace, table });
    this.#failedAtMs = Math.min(this.#failedAtMs, failedAtMs);
  }

  close(instance: string): NewMessage {
    return {
      id: randomUUID(),
      body: bundleOf(instance, new Date(this.#failedAtMs).toISOString(), this.texts),
      tables: [...this.#tables.values()],
      failedAtMs: this.#failedAtMs,
      writes: this.texts.length,
    };
  }
}

interface SplitWrite {
  readonly tables: readonly TableName[];
}

/** What a message is split into when the queue refuses it: its writes, each alone. undefined: it can't be split. */
export function splitMessage(message: NewMessage): readonly NewMessage[] | undefined {
  const parsed = JSON.parse(message.body) as { instance: string; enqueuedAt: string; writes?: readonly SplitWrite[] };
  if (parsed.writes === undefined || parsed.writes.length < 2) return undefined;
  return parsed.writes.map((write) => ({
    id: randomUUID(),
    // Escapes of the original that XML needs are lost by parsing.
    body: bundleOf(parsed.instance, parsed.enqueuedAt, [encodeForQueue(write)]),
    tables: write.tables.map(({ keyspace, table }) => ({ keyspace, table })),
    failedAtMs: message.failedAtMs,
    writes: 1,
  }));
}
