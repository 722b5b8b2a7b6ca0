/**
 * What proxies that stand still have noted of the writes that one cluster may lack: as whoever started them again would find
 * it on their disks, in the queue and in the ledger.
 */
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { rangesOf } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { decodeMessage } from '#core/model/message.ts';
import { MIN_TOKEN } from '#core/token/token.ts';
import { type TokenRange, WHOLE_RING } from '#core/token/token-range.ts';
import { readLog } from '../../../proxy-container/src/in-flight/read-log.ts';
import { BodyCipher } from '../../../proxy-container/src/journal/body-cipher.ts';
import { JournalDatabase } from '../../../proxy-container/src/journal/journal-database.ts';
import { DATABASE_NAME } from '../../../proxy-container/src/journal/journal-protocol.ts';
import { MarkedPlace } from '../../../proxy-container/src/journal/marked-place.ts';
import { MARKS_FILE } from '../../../proxy-container/src/journal/marked-places.ts';
import { ReservedMarks } from '../../../proxy-container/src/journal/reserved-marks.ts';

export type OwedBy = 'log' | 'journal' | 'queue' | 'marks';

/** Parts of a table that somebody has noted. */
export interface OwedPlace {
  readonly by: OwedBy;
  readonly keyspace: string;
  /** `*`: every table. */
  readonly table: string;
  readonly ranges: readonly TokenRange[];
}

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const PLENTY = 1 << 30;

/** What the directory of a proxy's journal holds: its log of writes under way, its journal and its marks. */
export async function owedOnDisk(journalDir: string): Promise<OwedPlace[]> {
  // In a copy: to open the files is to mend them.
  const copy = mkdtempSync(join(tmpdir(), 'ringshift-owed-'));
  try {
    const isWanted = (path: string): boolean => basename(path) !== 'ballast';
    if (existsSync(journalDir)) cpSync(journalDir, copy, { recursive: true, filter: isWanted });
    return [...(await inLog(join(copy, 'in-flight'))), ...inJournal(copy), ...inMarks(copy)];
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** What a message names; one that lies elsewhere, being too large for the queue, may name anything. */
export function owedByMessage(body: string, by: OwedBy = 'queue'): OwedPlace[] {
  if ('overflow' in (JSON.parse(body) as object)) return [{ by, keyspace: '*', table: '*', ranges: [WHOLE_RING] }];
  const message = decodeMessage(body);
  const tables = message.kind === 'copy' ? [message] : message.writes.flatMap((write) => write.tables);
  return tables.map(({ keyspace, table, tokens }) => ({ by, keyspace, table, ranges: rangesOfTokens(tokens) }));
}

export function owedByMarks(marks: readonly SuspectRecord[]): OwedPlace[] {
  return marks.map((mark) => ({ by: 'marks', keyspace: mark.keyspace, table: mark.table, ranges: rangesOf(mark) }));
}

async function inLog(directory: string): Promise<OwedPlace[]> {
  const { owed } = await readLog(directory);
  return owed.map(({ keyspace, table, isWhole, tokens }) => ({
    by: 'log',
    keyspace,
    table,
    ranges: isWhole ? [WHOLE_RING] : rangesOfTokens([...tokens]),
  }));
}

function inJournal(directory: string): OwedPlace[] {
  if (!existsSync(join(directory, DATABASE_NAME))) return [];
  const cipher = new BodyCipher({ current: null, previous: [] });
  const doubted: OwedPlace[] = [];
  const onDoubt = (tables: readonly { keyspace: string; table: string }[]): void => {
    for (const { keyspace, table } of tables) doubted.push({ by: 'journal', keyspace, table, ranges: [WHOLE_RING] });
  };
  const database = new JournalDatabase({ directory, maxBytes: PLENTY, cipher, logger: silent, onDoubt });
  const seen = new Set<number>();
  const found: OwedPlace[] = [];
  for (;;) {
    const messages = database.due(Number.MAX_SAFE_INTEGER, PLENTY, seen);
    if (messages.length === 0) break;
    for (const { seq, body } of messages) {
      seen.add(seq);
      found.push(...owedByMessage(body, 'journal'));
    }
  }
  database.abandon();
  return [...found, ...doubted];
}

function inMarks(directory: string): OwedPlace[] {
  const path = join(directory, MARKS_FILE);
  if (!existsSync(path)) return [];
  const marks = ReservedMarks.open(path, silent);
  const records = marks.found.map(({ identity, places }) => new MarkedPlace(identity, places, 0).recordBy('stopped'));
  const all: OwedPlace[] = marks.isEverything ? [{ by: 'marks', keyspace: '*', table: '*', ranges: [WHOLE_RING] }] : [];
  marks.close();
  return [...all, ...owedByMarks(records)];
}

/** @param tokens undefined or none: it is not known which */
function rangesOfTokens(tokens: readonly bigint[] | undefined): readonly TokenRange[] {
  if (tokens === undefined || tokens.length === 0) return [WHOLE_RING];
  return tokens.filter((token) => token !== MIN_TOKEN).map((token) => ({ start: token - 1n, end: token }));
}
