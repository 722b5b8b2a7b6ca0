/** What may be shown of dead letters, and what is changed in them: nothing of the application's values. */
import type { DeadMessage, ReplayQueue } from '#adapters/replay-queue.ts';
import { describeError, MessageInvalidError } from '#core/errors.ts';
import { decodeMessage, encodeMessage, type Message } from '#core/model/message.ts';

export interface DeadLetter {
  /** The queue's. */
  readonly id: string;
  readonly kind: Message['kind'] | 'unreadable';
  readonly tables: readonly string[];
  readonly reason: string;
  /** Failed writes, or places, in it. */
  readonly count: number;
  /** The most that one of them had. */
  readonly attempts: number | null;
}

/** Why letters are dead, by table. */
export interface DeadTable {
  readonly table: string;
  readonly letters: number;
  readonly reasons: Readonly<Record<string, number>>;
}

/** Of a letter that can't be read. */
const UNKNOWN_TABLE = '(unknown)';

export async function describeDeadLetter(
  letter: DeadMessage,
  queue: Pick<ReplayQueue, 'resolve'>,
): Promise<DeadLetter> {
  const { id } = letter;
  try {
    const message = decodeMessage(await queue.resolve(letter.body));
    const reason =
      letter.reason ?? `the queue gave it up after too many deliveries; it had failed with: ${ownReason(message)}`;
    const tables = [...new Set(tablesOf(message))];
    const count = message.kind === 'writes' ? message.writes.length : message.tokens.length;
    return { id, kind: message.kind, tables, reason, count, attempts: attemptsOf(message) };
  } catch (error) {
    const reason = letter.reason ?? describeError(error);
    return { id, kind: 'unreadable', tables: [], reason, count: 0, attempts: null };
  }
}

function tablesOf(message: Message): string[] {
  if (message.kind === 'copy') return [`${message.keyspace}.${message.table}`];
  return message.writes.flatMap(({ tables }) => tables.map(({ keyspace, table }) => `${keyspace}.${table}`));
}

function ownReason(message: Message): string {
  if (message.kind === 'copy') return message.code;
  return message.writes.find(({ reason }) => reason !== undefined)?.reason ?? 'unknown';
}

function attemptsOf(message: Message): number {
  return message.kind === 'copy' ? message.attempts : Math.max(...message.writes.map(({ attempts }) => attempts));
}

/** The letters by table; one that touches several tables counts for each. */
export function byTable(letters: readonly DeadLetter[]): DeadTable[] {
  const found = new Map<string, { letters: number; reasons: Record<string, number> }>();
  for (const { tables, reason } of letters) {
    for (const table of tables.length === 0 ? [UNKNOWN_TABLE] : tables) {
      const entry = found.get(table) ?? { letters: 0, reasons: {} };
      entry.letters++;
      entry.reasons[reason] = (entry.reasons[reason] ?? 0) + 1;
      found.set(table, entry);
    }
  }
  return [...found]
    .map(([table, entry]) => ({ table, ...entry }))
    .sort((one, other) => other.letters - one.letters || one.table.localeCompare(other.table));
}

/** The body of a message as if it had not been tried yet; one that can't be read stays as it is. */
export async function withoutAttempts(body: string, queue: Pick<ReplayQueue, 'resolve'>): Promise<string> {
  try {
    const message = decodeMessage(await queue.resolve(body));
    if (message.kind === 'copy') {
      const { notBefore: _, ...rest } = message;
      return encodeMessage({ ...rest, attempts: 1 });
    }
    const writes = message.writes.map(({ notBefore: _, ...write }) => ({ ...write, attempts: 1 }));
    return encodeMessage({ ...message, writes });
  } catch (error) {
    if (error instanceof MessageInvalidError) return body;
    throw error;
  }
}
