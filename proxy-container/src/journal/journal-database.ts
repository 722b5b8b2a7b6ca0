import { join } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { describeError } from '#core/errors.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { Logger } from '#core/ports.ts';
import { Ballast } from './ballast.ts';
import { type BodyCipher, KeyMissingError } from './body-cipher.ts';
import type { NewMessage } from './bundle-writes.ts';
import { MessageState, openJournalFile, PAGE_BYTES, removeJournalFile, resultCodeOf } from './journal-file.ts';
import { TablesFile } from './tables-file.ts';

const FULL = 13;
const { WAITING, ASIDE, UNREADABLE } = MessageState;
const MAX_AT_ONCE = 64;

/** A message that waits. */
export interface StoredMessage extends NewMessage {
  readonly seq: number;
  readonly refusals: number;
}

/** What is in the database. */
export interface StoredCounts {
  /** Writes, and messages that are none. */
  waiting: number;
  bytes: number;
  setAside: number;
  unreadable: number;
}

export interface DatabaseOptions {
  readonly directory: string;
  readonly maxBytes: number;
  readonly cipher: BodyCipher;
  readonly logger: Logger;
  /** What was kept of these tables is lost, or can't be read. */
  readonly onDoubt: (tables: readonly TableName[], reason: string) => void;
}

interface Row {
  readonly seq: number;
  readonly id: string;
  readonly failed_at: number;
  readonly writes: number;
  readonly refusals: number;
  readonly tables: string;
  readonly key_id: Uint8Array | null;
  readonly nonce: Uint8Array | null;
  readonly body: Uint8Array;
}

/**
 * Messages on this machine's disk until the queue has them, in SQLite. What was committed outlives the process and the
 * machine. Every method may throw what SQLite throws. It holds values of the application, so its files are the owner's alone.
 */
export class JournalDatabase {
  readonly #options: DatabaseOptions;
  readonly #ballast: Ballast;
  readonly #tables: TablesFile;
  readonly #database: DatabaseSync;
  #statements: Record<'insert' | 'due' | 'one' | 'remove' | 'putBack' | 'state' | 'oldest' | 'note', StatementSync>;
  readonly counts: StoredCounts = { waiting: 0, bytes: 0, setAside: 0, unreadable: 0 };

  constructor(options: DatabaseOptions) {
    this.#options = options;
    this.#ballast = new Ballast(join(options.directory, 'ballast'));
    this.#tables = new TablesFile(join(options.directory, 'journal.tables'));
    this.#database = openJournalFile({ ...options, tablesBefore: () => this.#tables.read() });
    this.#statements = this.#prepare();
    this.#readAgain();
    this.#tryAgain();
    this.#count();
    this.#ballast.restore();
  }

  /** Everything in one transaction, with the note that the chunk which it came in needs no other one. */
  insert(messages: readonly NewMessage[], chunk?: { readonly run: string; readonly number: number }): void {
    const { cipher } = this.#options;
    const rows = messages.map((message) => {
      const tables = JSON.stringify(message.tables);
      return { message, tables, sealed: cipher.seal(message.body, contextOf(message.id, tables)) };
    });
    this.#withRoom(() => {
      for (const { tables } of messages) this.#tables.add(tables);
    });
    this.#inTransaction(() => {
      for (const { message, tables, sealed } of rows) {
        const { keyId, nonce, body } = sealed;
        const { id, failedAtMs, writes } = message;
        this.#statements.insert.run(id, Math.floor(failedAtMs), writes, tables, keyId, nonce, body);
      }
      if (chunk) this.#statements.note.run('chunk', `${chunk.run} ${chunk.number}`);
    });
    for (const { message, sealed } of rows) {
      this.counts.waiting += message.writes;
      this.counts.bytes += sealed.body.length;
    }
  }

  /** The last chunk of this run of the process that is in it; 0: none. */
  lastChunk(run: string): number {
    const row = this.#database.prepare("SELECT value FROM meta WHERE name = 'chunk'").get() as
      | { readonly value: string }
      | undefined;
    const [of, number] = row?.value.split(' ') ?? [];
    return of === run ? Number(number) : 0;
  }

  /** What waits and is due, the longest due first, up to so many bytes of messages; one at least, but none of `skipped`. */
  due(nowMs: number, maxBytes: number, skipped: ReadonlySet<number>): StoredMessage[] {
    const found: StoredMessage[] = [];
    let bytes = 0;
    for (const { seq } of this.#statements.due.iterate(nowMs) as Iterable<{ readonly seq: number }>) {
      if (skipped.has(seq)) continue;
      const message = this.#read(this.#statements.one.get(seq) as unknown as Row);
      if (message === undefined) continue;
      found.push(message);
      bytes += message.body.length;
      if (bytes >= maxBytes || found.length >= MAX_AT_ONCE) break;
    }
    for (const seq of this.#unreadable.splice(0)) this.#setState(seq, UNREADABLE);
    return found;
  }

  /** When the next message is due, and when the oldest failed; undefined: nothing waits. Milliseconds since the epoch. */
  get next(): { readonly dueAtMs: number; readonly failedAtMs: number } | undefined {
    const row = this.#statements.oldest.get() as { due_at: number | null; failed_at: number | null } | undefined;
    return row?.due_at == null || row.failed_at == null
      ? undefined
      : { dueAtMs: row.due_at, failedAtMs: row.failed_at };
  }

  remove(seqs: readonly number[]): void {
    const removed = { writes: 0, bytes: 0 };
    this.#inTransaction(() => {
      removed.writes = 0;
      removed.bytes = 0;
      for (const seq of seqs) {
        const row = this.#statements.remove.get(seq) as { writes: number; bytes: number } | undefined;
        removed.writes += row?.writes ?? 0;
        removed.bytes += row?.bytes ?? 0;
      }
    });
    this.counts.waiting -= removed.writes;
    this.counts.bytes -= removed.bytes;
  }

  /** Its turn comes no sooner than `dueAtMs`. */
  putBack(seq: number, refusals: number, dueAtMs: number): void {
    this.#inTransaction(() => this.#statements.putBack.run(refusals, Math.ceil(dueAtMs), seq));
  }

  /** In the place of one message others that say the same. */
  replace(seq: number, messages: readonly NewMessage[]): void {
    this.insert(messages);
    this.remove([seq]);
  }

  /** Keeps a message that the queue does not take where it is in nobody's way. */
  setAside(seq: number): void {
    this.#setState(seq, ASIDE);
  }

  /** What was put back waits no longer. */
  makeDue(): void {
    this.#inTransaction(() => this.#database.exec(`UPDATE messages SET due_at = 0 WHERE state = ${WAITING}`));
  }

  /** Room for a full disk, where there is some again. */
  restoreBallast(): void {
    this.#ballast.restore();
  }

  /** Leaves everything as it is. */
  abandon(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** Leaves nothing behind where nothing waits. */
  close(): void {
    const isEmpty = this.#database.prepare('SELECT seq FROM messages LIMIT 1').get() === undefined;
    this.#database.close();
    if (!isEmpty) return;
    removeJournalFile(this.#options.directory);
    this.#tables.remove();
    this.#ballast.drop();
  }

  readonly #unreadable: number[] = [];

  #read(row: Row): StoredMessage | undefined {
    const { seq, id, failed_at, writes, refusals, tables, key_id, nonce, body } = row;
    const names = JSON.parse(tables) as TableName[];
    try {
      const text = this.#options.cipher.open({ keyId: key_id, nonce, body }, contextOf(id, tables));
      return { seq, id, body: text, tables: names, failedAtMs: failed_at, writes, refusals };
    } catch (error) {
      const isKeyMissing = error instanceof KeyMissingError;
      const why = isKeyMissing ? 'their key is not in failedWrites.previousJournalKeys' : describeError(error);
      this.#options.logger.error('failed writes can not be read from the journal; they stay in it', {
        id,
        why,
        writes,
      });
      this.#options.onDoubt(names, 'failed writes can not be read from the journal');
      this.#unreadable.push(seq);
      return undefined;
    }
  }

  #setState(seq: number, state: typeof ASIDE | typeof UNREADABLE): void {
    let row: { writes: number; bytes: number } | undefined;
    this.#inTransaction(() => {
      row = this.#statements.state.get(state, seq) as typeof row;
    });
    this.counts.waiting -= row?.writes ?? 0;
    this.counts.bytes -= row?.bytes ?? 0;
    if (state === ASIDE) this.counts.setAside++;
    else this.counts.unreadable++;
  }

  /** What could not be opened for lack of a key that is there now. */
  #readAgain(): void {
    const rows = this.#database.prepare(`SELECT DISTINCT key_id FROM messages WHERE state = ${UNREADABLE}`).all();
    for (const { key_id } of rows as { key_id: Uint8Array | null }[]) {
      if (key_id === null || !this.#options.cipher.knows(key_id)) continue;
      this.#database
        .prepare(`UPDATE messages SET state = ${WAITING} WHERE state = ${UNREADABLE} AND key_id = ?`)
        .run(key_id);
    }
  }

  /** What was set aside is offered again by each process: why the queue did not take it may be mended. */
  #tryAgain(): void {
    try {
      this.#database.exec(`UPDATE messages SET state = ${WAITING}, refusals = 0, due_at = 0 WHERE state = ${ASIDE}`);
    } catch (error) {
      // A full disk, say: the next start finds them as they are.
      this.#options.logger.warn('what is set aside stays so', { error: describeError(error) });
    }
  }

  #count(): void {
    const rows = this.#database
      .prepare(
        'SELECT state, count(*) AS messages, sum(writes) AS writes, sum(length(body)) AS bytes FROM messages GROUP BY state',
      )
      .all() as { state: number; messages: number; writes: number; bytes: number }[];
    const of = (state: number) => rows.find((row) => row.state === state);
    this.counts.waiting = of(WAITING)?.writes ?? 0;
    this.counts.bytes = of(WAITING)?.bytes ?? 0;
    this.counts.setAside = of(ASIDE)?.messages ?? 0;
    this.counts.unreadable = of(UNREADABLE)?.messages ?? 0;
  }

  #prepare() {
    const prepare = (text: string): StatementSync => this.#database.prepare(text);
    return {
      insert: prepare(
        'INSERT INTO messages (id, failed_at, writes, tables, key_id, nonce, body) VALUES (?, ?, ?, ?, ?, ?, ?)',
      ),
      due: prepare(`SELECT seq FROM messages WHERE state = ${WAITING} AND due_at <= ? ORDER BY due_at, seq`),
      one: prepare(
        'SELECT seq, id, failed_at, writes, refusals, tables, key_id, nonce, body FROM messages WHERE seq = ?',
      ),
      remove: prepare('DELETE FROM messages WHERE seq = ? RETURNING writes, length(body) AS bytes'),
      putBack: prepare('UPDATE messages SET refusals = ?, due_at = ? WHERE seq = ?'),
      state: prepare('UPDATE messages SET state = ? WHERE seq = ? RETURNING writes, length(body) AS bytes'),
      oldest: prepare(
        `SELECT (SELECT due_at FROM messages WHERE state = ${WAITING} ORDER BY due_at LIMIT 1) AS due_at,
                (SELECT failed_at FROM messages WHERE state = ${WAITING} ORDER BY failed_at LIMIT 1) AS failed_at`,
      ),
      note: prepare(
        'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
      ),
    };
  }

  #inTransaction(work: () => void): void {
    this.#withRoom(() => this.#transact(work));
  }

  /** On a full disk once more, in the room that was kept for that. */
  #withRoom(work: () => void): void {
    try {
      work();
    } catch (error) {
      const isDiskFull = (error as NodeJS.ErrnoException).code === 'ENOSPC' || resultCodeOf(error) === FULL;
      if (!isDiskFull || !this.#ballast.isThere || this.#isAtItsLimit) throw error;
      this.#options.logger.warn('the disk is full; the journal uses the room that it has kept for that', {});
      this.#ballast.drop();
      this.#database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
      work();
    }
  }

  #transact(work: () => void): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      work();
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  /** It is as large as it may be, whatever the disk has. */
  get #isAtItsLimit(): boolean {
    const { page_count } = this.#database.prepare('PRAGMA page_count').get() as { page_count: number };
    return (page_count + 1) * PAGE_BYTES >= this.#options.maxBytes;
  }
}

function contextOf(id: string, tables: string): string {
  return `${id} ${tables}`;
}
