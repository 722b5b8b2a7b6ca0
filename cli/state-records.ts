/** Records of the ledger as JSON lines: a first line that says what follows, then one record in each. */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { GateClosedError, UsageError } from '#core/errors.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { createLedgerBatch } from '#core/ledger/ledger-batch.ts';
import type { LedgerStore } from '#core/ports.ts';

/** Records that are put together. */
const BATCH = 1000;

const HEADER = { ringshift: 'ledger', version: 1 } as const;
const headerSchema = z.strictObject({ ringshift: z.literal('ledger'), version: z.literal(1) });
const lineSchema = z.strictObject({ key: z.string().min(1).max(1000), value: z.json() });

/** A record on its way from one ledger to another. */
export interface MovedRecord {
  readonly key: string;
  /** JSON. */
  readonly value: string;
}

/** Writes all records, one at a time in memory; a file appears under its name when it is whole. @returns how many */
export async function writeExport(store: LedgerStore, file: string): Promise<number> {
  let count = 0;
  async function* lines(): AsyncGenerator<string, void> {
    yield `${JSON.stringify(HEADER)}\n`;
    for await (const { key, value } of store.entries('')) {
      count++;
      yield `${JSON.stringify({ key, value: JSON.parse(value) })}\n`;
    }
  }
  if (file === '-') {
    await pipeline(Readable.from(lines()), process.stdout, { end: false });
    return count;
  }
  await pipeline(Readable.from(lines()), createWriteStream(`${file}.part`, { mode: 0o600, flush: true }));
  await rename(`${file}.part`, file);
  return count;
}

/** @throws UsageError naming the line that is none of an export */
export async function* readExport(file: string): AsyncGenerator<MovedRecord, void> {
  const input = file === '-' ? process.stdin : createReadStream(file);
  let number = 0;
  try {
    for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      number++;
      if (number === 1) readLine(headerSchema, line, file, number);
      else if (line !== '') {
        const { key, value } = readLine(lineSchema, line, file, number);
        yield { key, value: JSON.stringify(value) };
      }
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    throw new UsageError(`${file} can't be read: ${(cause as NodeJS.ErrnoException).code}`, { cause });
  }
  if (number === 0) throw new UsageError(`${file} is empty, and no export of the ledger`);
}

function readLine<S extends z.ZodType>(schema: S, line: string, file: string, number: number): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new UsageError(`${file}:${number} is no line of an export of the ledger: it is no JSON`, { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new UsageError(
    `${file}:${number} is no line of an export of the ledger: ${issue?.path.join('.')}: ${issue?.message}`,
  );
}

export interface ImportRecordsOptions {
  readonly overwrite: boolean;
  /** Though proxies are registered in the ledger. */
  readonly whileRunning: boolean;
  readonly onProgress: (count: number) => void;
}

/**
 * Puts records into a ledger, a thousand at a time; those that are there already are kept, or replaced.
 * @throws GateClosedError when proxies are registered there, or a change of phase is open
 */
export async function importRecords(
  store: LedgerStore,
  records: AsyncIterable<MovedRecord>,
  { overwrite, whileRunning, onProgress }: ImportRecordsOptions,
): Promise<{ readonly written: number; readonly kept: readonly string[] }> {
  if (!whileRunning) await requireQuiet(store);
  const batch = createLedgerBatch(store);
  const kept: string[] = [];
  let written = 0;
  const commit = async (): Promise<void> => {
    written += (await batch.commit()).applied;
    onProgress(written + kept.length);
  };
  for await (const { key, value } of records) {
    if (!overwrite && (await store.has(key))) kept.push(key);
    else batch.put(key, value);
    if (batch.size >= BATCH) await commit();
  }
  if (batch.size > 0) await commit();
  return { written, kept };
}

async function requireQuiet(store: LedgerStore): Promise<void> {
  const ledger = createLedger(store);
  const [phase, proxies] = await Promise.all([ledger.readPhase(), ledger.listProxies()]);
  const reasons = [
    ...proxies.map(({ instance }) => `proxy ${instance} is registered in it; stop it first (or --while-running)`),
    ...(phase?.proposal ? ['a change of phase is open; wait for it, or: ringshift phase withdraw'] : []),
  ];
  if (reasons.length > 0) throw new GateClosedError('state import', reasons);
}
