/** `ringshift sstable dump|info|verify`: one SSTable on this machine, as JSON, its metadata, its checksums. */
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { listSSTables, sstableFilesAt } from '#adapters/byte-source-file.ts';
import { describeError, MigrationError, UsageError } from '#core/errors.ts';
import { instantText } from '#core/model/calendar-text.ts';
import { renderType } from '#core/model/compare-schema.ts';
import { NO_DELETION_TIME } from '#core/model/row.ts';
import { dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openSSTable, type SSTable, tokenBounds } from '#core/sstable/sstable.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import { parseToken, WHOLE_RING } from '#core/token/token-range.ts';
import { ExitCode, printResult, reportFailure } from './output.ts';

interface DumpFlags {
  readonly timestamps?: boolean;
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
    .description("print an SSTable's partitions as JSON, in the shape of Cassandra's sstabledump")
    .argument('<path>', 'its Data.db, e.g. nb-1-big-Data.db')
    .option('-t, --timestamps', 'write times as microseconds instead of ISO 8601')
    .option('--start-token <token>', 'only partitions above this token')
    .option('--end-token <token>', 'only partitions up to and including this token')
    .option('--json', 'accepted everywhere; a dump is JSON anyway')
    .action(dump);
  sstable
    .command('info')
    .description('print what its metadata tells: version, columns, times, size, tokens')
    .argument('<path>', 'its Data.db, e.g. nb-1-big-Data.db')
    .option('--json', 'as JSON')
    .action(info);
  sstable
    .command('verify')
    .description('read SSTables to their ends and compare every checksum and count; exits 1 when one is broken')
    .argument('<paths...>', 'Data.db files, or directories of a table')
    .option('--json', 'as JSON, one line for each SSTable')
    .action(verify);
}

async function dump(path: string, flags: DumpFlags): Promise<void> {
  const range = {
    start: flags.startToken === undefined ? WHOLE_RING.start : tokenOption(flags.startToken),
    end: flags.endToken === undefined ? WHOLE_RING.end : tokenOption(flags.endToken),
  };
  const opened = await openSSTable(await filesOf(path));
  const cursor = openPartitionCursor(opened, { range });
  const options = { rawTimestamps: flags.timestamps, nowSeconds: Math.floor(Date.now() / 1000) };
  process.stdout.on('error', stopOnClosedPipe);
  let separator = '[\n';
  for await (const partition of dumpPartitions(cursor, opened.header, options)) {
    if (!process.stdout.write(separator + partition)) await once(process.stdout, 'drain');
    separator = ',\n';
  }
  process.stdout.write(separator === '[\n' ? '[ ]\n' : '\n]\n');
}

/** `… | head` closes the pipe early, which is no failure. */
function stopOnClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
  process.exit(ExitCode.done);
}

async function info(path: string, flags: JsonFlag): Promise<void> {
  const opened = await openSSTable(await filesOf(path));
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
    minTimestamp: instantText(stats.minTimestampMicros),
    maxTimestamp: instantText(stats.maxTimestampMicros),
    minLocalDeletionTime: seconds(stats.minLocalDeletionTimeSeconds),
    maxLocalDeletionTime: seconds(stats.maxLocalDeletionTimeSeconds),
    minTtlSeconds: stats.minTtlSeconds,
    maxTtlSeconds: stats.maxTtlSeconds,
    level: stats.level,
    repairedAt: stats.repairedAtMillis === 0n ? null : instantText(stats.repairedAtMillis * 1000n),
    hostId: stats.originatingHostId ?? null,
    firstToken,
    lastToken,
  };
}

async function verify(paths: readonly string[], flags: JsonFlag): Promise<void> {
  for (const files of (await Promise.all(paths.map(allFilesOf))).flat()) {
    try {
      const result = await verifySSTable(files);
      const { partitions, rows, digest } = result;
      printResult(flags, { name: files.name, status: 'intact', ...result }, [
        `${files.name}: intact, ${partitions} partitions, ${rows} rows, digest ${digest}`,
      ]);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      process.exitCode = ExitCode.found;
      const { name: kind, context } = error;
      if (flags.json)
        printResult(
          flags,
          { name: files.name, status: 'broken', error: { name: kind, context, message: describeError(error) } },
          [],
        );
      else reportFailure(error, flags);
    }
  }
}

async function filesOf(path: string): Promise<SSTableFiles> {
  const kind = await stat(path).catch(() => undefined);
  if (!kind?.isFile()) throw new UsageError(`${path} is not a file; name an SSTable's Data.db`);
  return sstableFilesAt(path);
}

async function allFilesOf(path: string): Promise<readonly SSTableFiles[]> {
  const kind = await stat(path).catch(() => undefined);
  if (!kind?.isDirectory()) return [await filesOf(path)];
  const found = await listSSTables(path);
  if (found.length === 0) throw new UsageError(`${path} holds no SSTable; name a table's snapshot directory`);
  return found;
}

function tokenOption(text: string): bigint {
  try {
    return parseToken(text);
  } catch {
    throw new UsageError(`${text} is not a token between −2^63 and 2^63 − 1`);
  }
}
