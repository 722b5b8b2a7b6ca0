import { createHash } from 'node:crypto';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

export const RESERVE_NAME = 'reserve.log';
export const RESERVE_BYTES = 2 * 1024 * 1024;

const FOLDER = 'in-flight';
/** In the directory of the journal. */
const NOTE_NAME = 'in-flight-at';
const SEGMENT_NAME = /^\d{12,15}\.log$/;

/** What the configuration says of where it lies. */
export interface LogPlace {
  readonly inFlightDir: string | null;
  readonly journalDir: string;
}

/**
 * Where the log of a process lies: beside its journal, or in a directory of its own in `inFlightDir`, which several
 * processes of a machine may have in common. As with the journal, one process at a time uses it.
 */
export function logFolderOf({ inFlightDir, journalDir }: LogPlace): string {
  if (inFlightDir === null) return join(journalDir, FOLDER);
  const owner = createHash('sha256').update(resolve(journalDir)).digest('hex').slice(0, 12);
  return join(resolve(inFlightDir), `${FOLDER}-${owner}`);
}

/**
 * Where else this journal's process may have left a log: beside the journal, or where `inFlightDir` was when a process used
 * it last.
 */
export async function earlierFoldersOf(place: LogPlace): Promise<string[]> {
  const noted = await readFile(join(place.journalDir, NOTE_NAME), 'utf8').catch(() => undefined);
  const folders = new Set([logFolderOf({ ...place, inFlightDir: null }), ...(noted ? [noted] : [])]);
  folders.delete(logFolderOf(place));
  return [...folders];
}

/** Notes where the log is, unless it is beside the journal. @throws what the disk says */
export async function noteFolder(place: LogPlace): Promise<void> {
  const note = join(place.journalDir, NOTE_NAME);
  if (place.inFlightDir === null) await rm(note, { force: true });
  else await writeFile(note, logFolderOf(place), { mode: 0o600 });
}

export function segmentName(number: number): string {
  return `${String(number).padStart(12, '0')}.log`;
}

/** Names of the files of a log, the reserve last. None where there is no directory. */
export async function logFilesIn(directory: string): Promise<string[]> {
  const names: string[] = await readdir(directory).catch(() => []);
  const segments = names.filter((name) => SEGMENT_NAME.test(name)).sort();
  return names.includes(RESERVE_NAME) ? [...segments, RESERVE_NAME] : segments;
}

/** Takes the place for a full disk, with zeros: a hole would have to be filled when there is no room. @throws what the disk says */
export async function prepareReserve(directory: string): Promise<void> {
  const path = join(directory, RESERVE_NAME);
  const file = await open(path, 'a+', 0o600);
  try {
    const { size } = await file.stat();
    if (size < RESERVE_BYTES) await file.appendFile(Buffer.alloc(RESERVE_BYTES - size));
  } finally {
    await file.close();
  }
}

/** Forgets what the files say: segments go, the reserve keeps its place. @throws what the disk says */
export async function removeLogFiles(directory: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const path = join(directory, name);
    if (name !== RESERVE_NAME) {
      await rm(path, { force: true });
      continue;
    }
    const file = await open(path, 'r+');
    try {
      await file.write(Buffer.alloc(Math.min(4096, (await file.stat()).size)), 0, undefined, 0);
    } finally {
      await file.close();
    }
  }
}

export async function readLogFile(directory: string, name: string): Promise<Buffer> {
  return readFile(join(directory, name));
}
