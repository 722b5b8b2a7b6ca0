/** `ringshift sstable dump|info|verify`: SSTables as JSON, their metadata, whether they are whole. */
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { UsageError } from '#core/errors.ts';
import { instantText } from '#core/model/calendar-text.ts';
import { renderType } from '#core/model/compare-schema.ts';
import { NO_DELETION_TIME } from '#core/model/row.ts';
import { dumpPartitions } from '#core/sstable/dump.ts';
import type { DumpForm, DumpRelease } from '#core/sstable/dump-options.ts';
import { openPartitionCursor, openWithoutSchema, type SSTable, tokenBounds } from '#core/sstable/sstable.ts';
import { withTotals } from '#core/sstable/totals.ts';
import { parseToken, WHOLE_RING } from '#core/token/token-range.ts';
import { ExitCode, printResult } from './output.ts';
import { registerVerify } from './sstable-verify.ts';

interface DumpFlags {
  readonly timestamps?: boolean;
  readonly lines?: boolean;
  readonly rows?: boolean;
  readonly keys?: boolean;
  readonly key?: readonly string[];
  readonly exclude?: readonly string[];
  readonly counterTotals?: boolean;
  readonly like?: DumpRelease;
  readonly startToken?: string;
  readonly endToken?: string;
}

interface JsonFlag {
  readonly json?: boolean;
}

export function register(program: Command): void {
  const sstable = program.command('sstable').description('look into SSTables: dump, info, verify');
  sstable
    .command('dump')
    .description("print an SSTable's partitions as Cassandra's sstabledump does")
    .argument('<path>', 'its Data.db, e.g. nb-1-big-Data.db')
    .option('-t, --timestamps', 'write times as microseconds instead of ISO 8601')
    .option('-l, --lines', 'a JSON object on a line for each partition')
    .option('-d, --rows', "a line in Cassandra's internal form for each row")
    .option('-e, --keys', 'only the partition keys')
    .option('-k, --key <keys...>', 'only these partitions (a key of several columns: a:b)')
    .option('-x, --exclude <keys...>', 'all but these partitions')
    .option('--start-token <token>', 'only partitions above this token')
    .option('--end-token <token>', 'only partitions up to and including this token')
    .option('--counter-totals', 'the totals of counters; sstabledump prints the first eight bytes of their shards')
    .addOption(
      new Option('--like <release>', "whose sstabledump; default: 4.1's up to version nb, then 5.0's").choices([
        '4.1',
        '5.0',
      ]),
    )
    .option('--json', 'accepted everywhere; a dump is JSON anyway')
    .action(dump);
  sstable
    .command('info')
    .description('print what its metadata tells: version, columns, times, size, tokens')
    .argument('<path>', 'its Data.db, e.g. nb-1-big-Data.db')
    .option('--json', 'as JSON')
    .action(info);
  registerVerify(sstable);
}

async function dump(path: string, flags: DumpFlags): Promise<void> {
  const range = {
    start: flags.startToken === undefined ? WHOLE_RING.start : tokenOption(flags.startToken),
    end: flags.endToken === undefined ? WHOLE_RING.end : tokenOption(flags.endToken),
  };
  const form = formOf(flags);
  const opened = await open(path);
  const part = openPartitionCursor(opened, { range });
  const isWhole = range.start === WHOLE_RING.start && range.end === WHOLE_RING.end;
  const cursor = isWhole ? withTotals(part, opened.stats, opened.data.name) : part;
  const [wanted, excluded] = [flags.key && new Set(flags.key), new Set(flags.exclude)];
  const options = {
    form,
    release: flags.like ?? (opened.version.hasUnsignedDeletionTime ? '5.0' : '4.1'),
    rawTimestamps: flags.timestamps,
    counterTotals: flags.counterTotals,
    nowSeconds: Math.floor(Date.now() / 1000),
    isWanted: (key: string) => (wanted?.has(key) ?? true) && !excluded.has(key),
  };
  process.stdout.on('error', stopOnClosedPipe);
  for await (const text of batched(dumpPartitions(cursor, opened.header, options))) {
    if (!process.stdout.write(text)) await once(process.stdout, 'drain');
  }
}

function formOf(flags: DumpFlags): DumpForm {
  const asked: DumpForm[] = [];
  if (flags.lines) asked.push('lines');
  if (flags.rows) asked.push('rows');
  if (flags.keys) asked.push('keys');
  if (asked.length > 1) throw new UsageError('only one of -l, -d and -e at a time');
  return asked[0] ?? 'document';
}

const BATCH_CHARACTERS = 64 * 1024;

/** A write for each row would cost more than the row. */
async function* batched(pieces: AsyncIterable<string>): AsyncGenerator<string> {
  let text = '';
  for await (const piece of pieces) {
    text += piece;
    if (text.length < BATCH_CHARACTERS) continue;
    yield text;
    text = '';
  }
  yield text;
}

/** `… | head` closes the pipe early, which is no failure. */
function stopOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(ExitCode.done);
}

async function info(path: string, flags: JsonFlag): Promise<void> {
  const opened = await open(path);
  const { first, last } = await tokenBounds(opened);
  const facts = describe(opened, first, last);
  const width = Math.max(...Object.keys(facts).map((name) => name.length));
  const lines = Object.entries(facts).map(([name, value]) => {
    const text = Array.isArray(value) ? value.join(', ') : String(value ?? '-');
    return `${name.padEnd(width)}  ${text}`;
  });
  printResult(flags, facts, lines);
}

function describe(sstable: SSTable, firstToken: bigint, lastToken: bigint): Record<string, unknown> {
  const { header, stats, compression } = sstable;
  const seconds = (value: number) => (value === NO_DELETION_TIME ? null : instantText(BigInt(value) * 1_000_000n));
  const columns = (list: typeof header.regularColumns) => list.map(({ name, type }) => `${name} ${renderType(type)}`);
  return {
    name: sstable.name,
    version: `${sstable.version.text}-${sstable.version.format}`,
    partitioner: stats.partitioner,
    bloomFilterChance: stats.bloomFilterChance,
    partitionKey: header.keyTypes.map(renderType),
    clustering: header.clusteringTypes.map(
      (type, index) => `${renderType(type)}${header.clusteringReversed[index] ? ' desc' : ''}`,
    ),
    staticColumns: columns(header.staticColumns),
    regularColumns: columns(header.regularColumns),
    partitions: stats.partitionCount,
    rows: stats.totalRows,
    columnsSet: stats.totalColumnsSet,
    dataBytes: sstable.dataBytes,
    storedBytes: sstable.storedBytes,
    compressor: compression?.compressor ?? null,
    chunkBytes: compression?.chunkBytes ?? null,
    compressionRatio: compression ? stats.compressionRatio : null,
    minTimestamp: instantText(stats.minTimestampMicros),
    maxTimestamp: instantText(stats.maxTimestampMicros),
    minLocalDeletionTime: seconds(stats.minLocalDeletionTimeSeconds),
    maxLocalDeletionTime: seconds(stats.maxLocalDeletionTimeSeconds),
    minTtlSeconds: stats.minTtlSeconds,
    maxTtlSeconds: stats.maxTtlSeconds,
    level: stats.level,
    repairedAt: stats.repairedAtMillis === 0n ? null : instantText(stats.repairedAtMillis * 1000n),
    pendingRepair: stats.pendingRepair ?? null,
    isTransient: stats.isTransient,
    hasLegacyCounterShards: stats.hasLegacyCounterShards,
    hostId: stats.originatingHostId ?? null,
    firstToken,
    lastToken,
  };
}

async function open(path: string): Promise<SSTable> {
  const kind = await stat(path).catch(() => undefined);
  if (!kind?.isFile()) throw new UsageError(`${path} is not a file; name an SSTable's Data.db`);
  return openWithoutSchema(sstableFilesAt(path));
}

function tokenOption(text: string): bigint {
  try {
    return parseToken(text);
  } catch {
    throw new UsageError(`${text} is not a token between −2^63 and 2^63 − 1`);
  }
}
