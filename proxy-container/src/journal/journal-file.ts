/** The file of the journal as SQLite has it: its pages, its tables, and what becomes of a damaged one. */
import { closeSync, openSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describeError } from '#core/errors.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { Logger } from '#core/ports.ts';
import { DATABASE_NAME } from './journal-protocol.ts';

/** Of the database. Bytes. */
export const PAGE_BYTES = 4096;
/** Bounds the write-ahead log, which must stay below the ballast. */
const CHECKPOINT_PAGES = 256;
const CORRUPT = 11;
const NOT_A_DATABASE = 26;

/** What becomes of a message: it is sent, the queue does not take it, its body can't be read. */
export const MessageState = { WAITING: 0, ASIDE: 1, UNREADABLE: 2 } as const;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS messages (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  failed_at INTEGER NOT NULL, -- milliseconds since the epoch, of its oldest write
  due_at INTEGER NOT NULL DEFAULT 0,
  writes INTEGER NOT NULL,
  refusals INTEGER NOT NULL DEFAULT 0,
  state INTEGER NOT NULL DEFAULT ${MessageState.WAITING}, -- ${MessageState.ASIDE}: the queue does not take it; ${MessageState.UNREADABLE}: its body can't be read
  tables TEXT NOT NULL, -- JSON
  key_id BLOB,
  nonce BLOB,
  body BLOB NOT NULL -- zstd of the message, encrypted where there is a key
) STRICT;
CREATE INDEX IF NOT EXISTS due ON messages (state, due_at, seq);
CREATE INDEX IF NOT EXISTS age ON messages (state, failed_at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
`;

export interface JournalFileOptions {
  readonly directory: string;
  readonly maxBytes: number;
  readonly logger: Logger;
  /** The tables that a damaged file may have had writes of. */
  readonly tablesBefore: () => readonly TableName[];
  /** What was kept of these tables is lost. */
  readonly onDoubt: (tables: readonly TableName[], reason: string) => void;
}

/** Opens the file, or makes one. One that is damaged is kept beside the new one, and what it had is in doubt. */
export function openJournalFile(options: JournalFileOptions): DatabaseSync {
  try {
    return open(options);
  } catch (error) {
    if (!isDamage(error)) throw error;
    keepDamaged(options, error);
    return open(options);
  }
}

/** Leaves nothing of it. */
export function removeJournalFile(directory: string): void {
  for (const end of ['', '-wal', '-shm']) rmSync(join(directory, DATABASE_NAME + end), { force: true });
}

/** Of SQLite, without what it has added to it. */
export function resultCodeOf(error: unknown): number {
  return Number((error as { errcode?: number }).errcode ?? 0) & 0xff;
}

function open({ directory, maxBytes }: JournalFileOptions): DatabaseSync {
  const path = join(directory, DATABASE_NAME);
  // SQLite's other files get the rights of this one.
  closeSync(openSync(path, 'a', 0o600));
  const database = new DatabaseSync(path);
  try {
    database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;`);
    database.exec(`PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};`);
    database.exec(`PRAGMA journal_size_limit = ${CHECKPOINT_PAGES * PAGE_BYTES};`);
    database.exec(`PRAGMA max_page_count = ${Math.ceil(maxBytes / PAGE_BYTES)};`);
    const [check] = database.prepare('PRAGMA quick_check(1)').all() as { quick_check: string }[];
    if (check?.quick_check !== 'ok') throw new DamagedError(check?.quick_check ?? 'no answer');
    database.exec(SCHEMA);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function keepDamaged({ directory, logger, tablesBefore, onDoubt }: JournalFileOptions, error: unknown): void {
  const suffix = `.damaged-${Date.now()}`;
  for (const end of ['', '-wal']) {
    const path = join(directory, DATABASE_NAME + end);
    try {
      renameSync(path, join(directory, DATABASE_NAME + suffix + end));
    } catch {
      rmSync(path, { force: true });
    }
  }
  rmSync(join(directory, `${DATABASE_NAME}-shm`), { force: true });
  const tables = tablesBefore();
  logger.error('the journal of failed writes is damaged; it is kept beside a new one, and its tables are marked', {
    error: describeError(error),
    file: join(directory, DATABASE_NAME + suffix),
    tables: tables.map(({ keyspace, table }) => `${keyspace}.${table}`),
  });
  onDoubt(tables, 'the journal of failed writes is damaged');
}

class DamagedError extends Error {}

function isDamage(error: unknown): boolean {
  const code = resultCodeOf(error);
  return error instanceof DamagedError || code === CORRUPT || code === NOT_A_DATABASE;
}
