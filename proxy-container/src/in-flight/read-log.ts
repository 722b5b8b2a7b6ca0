import type { ClusterName } from '#core/model/cluster-name.ts';
import { joinToken } from '#core/token/token.ts';
import { PlaceFlag } from './in-flight-port.ts';
import { logFilesIn, readLogFile } from './log-folder.ts';
import {
  decodeSegmentHeader,
  decodeStampBody,
  decodeTableBody,
  ENTRY_BYTES,
  HEADER_BYTES,
  type LogRecord,
  RecordKind,
  recordsIn,
  type SegmentHeader,
} from './record-layout.ts';

/** Places of one table that had writes of one kind under way. */
export interface OwedPlaces {
  readonly keyspace: string;
  readonly table: string;
  /** The cluster that may lack them; null: either. */
  readonly lacking: ClusterName | null;
  readonly isCounter: boolean;
  readonly isConditional: boolean;
  /** At least one of them is of a token that is not known. */
  isWhole: boolean;
  readonly tokens: Set<bigint>;
}

/** What the log of a process that has ended says. */
export interface LogContent {
  readonly files: readonly string[];
  /** Of them, those that the disk does not give back. */
  readonly unreadable: readonly string[];
  /** Of the newest file; undefined: there is none. */
  readonly newest: SegmentHeader | undefined;
  /** Behind all numbers in it. */
  readonly nextSequence: number;
  readonly lastTimestampMicros: number;
  /** The process has said that nothing is owed. */
  readonly isClean: boolean;
  /** When it last said that it lives. Milliseconds since the epoch; 0: never. */
  readonly lastStampMs: number;
  readonly owed: readonly OwedPlaces[];
  /** All that its files name. */
  readonly tables: readonly { readonly keyspace: string; readonly table: string }[];
}

/** Reads the log in a directory; nothing is found where there is none. */
export async function readLog(directory: string): Promise<LogContent> {
  const files = await logFilesIn(directory);
  const segments: { readonly header: SegmentHeader; readonly name: string }[] = [];
  const reader = new LogReader();
  const unreadable: string[] = [];
  for (const name of files) {
    const bytes = await readLogFile(directory, name).catch(() => undefined);
    if (bytes === undefined) {
      unreadable.push(name);
      continue;
    }
    const header = decodeSegmentHeader(bytes.subarray(0, HEADER_BYTES));
    if (header === undefined) continue;
    segments.push({ header, name });
    for (const record of recordsIn(bytes, header.number)) reader.survey(record, header.number);
  }
  // Again, now that it is known what is settled: there may be far more in it than is owed.
  for (const { header, name } of segments) {
    const bytes = await readLogFile(directory, name).catch(() => undefined);
    if (bytes === undefined) {
      unreadable.push(name);
      continue;
    }
    reader.beginFile();
    for (const record of recordsIn(bytes, header.number)) reader.collect(record);
  }
  const newest = segments.map(({ header }) => header).sort((a, b) => b.number - a.number)[0];
  return { files, unreadable, newest, ...reader.result(newest?.number) };
}

/** Puts together what the records of a log say. */
export class LogReader {
  #lowWater = 0;
  #nextSequence = 1;
  #lastTimestampMicros = 0;
  #lastStampMs = 0;
  /** Of the last record in each file. */
  readonly #lastKinds = new Map<number, RecordKind>();
  readonly #owed = new Map<string, OwedPlaces>();
  readonly #tables = new Map<string, { keyspace: string; table: string }>();
  /** Of the file that is read, by their numbers in it. */
  #numbered: { keyspace: string; table: string }[] = [];

  /** Looks at a record for what it says of all others. */
  survey({ kind, firstSequence, lowWater, lastTimestampMicros, body }: LogRecord, segment: number): void {
    this.#lowWater = Math.max(this.#lowWater, lowWater);
    this.#lastTimestampMicros = Math.max(this.#lastTimestampMicros, lastTimestampMicros);
    this.#lastKinds.set(segment, kind);
    if (kind === RecordKind.STAMP) this.#lastStampMs = Math.max(this.#lastStampMs, decodeStampBody(body).wallMs);
    const count = kind === RecordKind.WRITES ? body.length / ENTRY_BYTES : 0;
    this.#nextSequence = Math.max(this.#nextSequence, firstSequence + count, lowWater);
  }

  beginFile(): void {
    this.#numbered = [];
  }

  /** Takes the places of a record that are owed. */
  collect({ kind, firstSequence, body }: LogRecord): void {
    if (kind === RecordKind.TABLE) {
      const { index, keyspace, table } = decodeTableBody(body);
      this.#numbered[index] = { keyspace, table };
      this.#tables.set(JSON.stringify([keyspace, table]), { keyspace, table });
    }
    if (kind !== RecordKind.WRITES) return;
    let sequence = firstSequence;
    for (let at = 0; at + ENTRY_BYTES <= body.length; at += ENTRY_BYTES) {
      const flags = body[at + 10]!;
      if (at > 0 && (flags & PlaceFlag.SAME_REQUEST) === 0) sequence++;
      if (sequence < this.#lowWater) continue;
      const table = this.#numbered[body.readUInt16LE(at + 8)];
      if (table) this.#owe(table, flags, joinToken(body.readInt32LE(at + 4), body.readInt32LE(at)));
    }
  }

  result(newestSegment: number | undefined): Omit<LogContent, 'files' | 'unreadable' | 'newest'> {
    return {
      nextSequence: this.#nextSequence,
      lastTimestampMicros: this.#lastTimestampMicros,
      isClean: newestSegment !== undefined && this.#lastKinds.get(newestSegment) === RecordKind.CLEAN_END,
      lastStampMs: this.#lastStampMs,
      owed: [...this.#owed.values()],
      tables: [...this.#tables.values()],
    };
  }

  #owe({ keyspace, table }: { keyspace: string; table: string }, flags: number, token: bigint): void {
    const isOrigin = (flags & PlaceFlag.ORIGIN_IS_SHADOW) !== 0;
    const lacking = (flags & PlaceFlag.BOTH_AT_ONCE) !== 0 ? null : isOrigin ? 'origin' : 'target';
    const isCounter = (flags & PlaceFlag.COUNTER) !== 0;
    const isConditional = (flags & PlaceFlag.CONDITIONAL) !== 0;
    const key = JSON.stringify([keyspace, table, lacking, isCounter, isConditional]);
    let places = this.#owed.get(key);
    if (places === undefined) {
      places = { keyspace, table, lacking, isCounter, isConditional, isWhole: false, tokens: new Set() };
      this.#owed.set(key, places);
    }
    if ((flags & PlaceFlag.NO_TOKEN) !== 0) places.isWhole = true;
    else places.tokens.add(token);
  }
}
