import { readFile } from 'node:fs/promises';
import { findTables, type TableName } from '#core/model/failed-write.ts';
import type { QueuedMessage } from '#core/ports.ts';

// A segment on disk: lines `<id> TAB <body> LF`. A body is one line of JSON, so neither byte occurs inside it.

/** The record of a message. */
export function lineOf({ id, body }: QueuedMessage): string {
  return `${id}\t${body}\n`;
}

/** What a message takes on the disk. Bytes. */
export function sizeOf(message: QueuedMessage): number {
  return Buffer.byteLength(message.id) + Buffer.byteLength(message.body) + 2;
}

/** Every table that messages write, once. */
export function tablesOf(messages: readonly QueuedMessage[]): readonly TableName[] {
  const found = messages.flatMap(({ body }) => findTables(body) ?? []);
  return [...new Map(found.map((one) => [`${one.keyspace}.${one.table}`, one])).values()];
}

export interface SegmentText {
  readonly messages: QueuedMessage[];
  /** A last line without its end: it was being written when the process died or the disk was full. */
  readonly torn: string | undefined;
}

/** @throws the file system's error when the file is not there or can't be read */
export async function readSegment(path: string): Promise<SegmentText> {
  const lines = (await readFile(path, 'utf8')).split('\n');
  const last = lines.pop();
  const messages = lines.flatMap((line) => {
    const tab = line.indexOf('\t');
    return tab > 0 ? [{ id: line.slice(0, tab), body: line.slice(tab + 1) }] : [];
  });
  return { messages, torn: last === '' ? undefined : last };
}
