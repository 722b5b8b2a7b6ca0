import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { listSSTables, sstableFilesAt } from '#adapters/byte-source-file.ts';
import { describeError, MigrationError, UsageError } from '#core/errors.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import { ExitCode, printResult, reportFailure } from './output.ts';

interface JsonFlag {
  readonly json?: boolean;
}

export function registerVerify(sstable: Command): void {
  sstable
    .command('verify')
    .description('read SSTables to their ends and compare every checksum and count; exits 1 when one is broken')
    .argument('<paths...>', 'Data.db files, or directories of a table')
    .option('--json', 'as JSON, one line for each SSTable')
    .action(verify);
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

async function allFilesOf(path: string): Promise<readonly SSTableFiles[]> {
  const kind = await stat(path).catch(() => undefined);
  if (!kind?.isDirectory()) {
    if (!kind?.isFile()) throw new UsageError(`${path} is not a file; name an SSTable's Data.db`);
    return [sstableFilesAt(path)];
  }
  const found = await listSSTables(path);
  if (found.length === 0) throw new UsageError(`${path} holds no SSTable; name a table's snapshot directory`);
  return found;
}
