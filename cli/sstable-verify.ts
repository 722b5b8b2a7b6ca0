import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { createS3Client } from '#adapters/aws-clients.ts';
import { listSSTables, sstableFilesAt } from '#adapters/byte-source-file.ts';
import { createS3ObjectStore } from '#adapters/s3.ts';
import { openSnapshotPlace } from '#adapters/snapshot-place.ts';
import { describeError, MigrationError, UsageError } from '#core/errors.ts';
import { verifySnapshot } from '#core/jobs/verify-snapshot.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import { withCommonOptions } from './clusters.ts';
import { createProgress, ExitCode, printResult } from './output.ts';

interface VerifyFlags {
  readonly json?: boolean;
  readonly keyspace: readonly string[];
  readonly rf?: string;
}

export function registerVerify(sstable: Command): void {
  const collect = (value: string, known: readonly string[]) => [...known, value];
  sstable
    .command('verify')
    .description('read SSTables to their ends and compare every checksum and count; exits 1 when one is broken')
    .argument(
      '<paths...>',
      'Data.db files, directories of a table, or whole snapshots (s3://bucket/prefix, a directory)',
    )
    .option('--keyspace <name>', 'of a whole snapshot only this one (repeatable)', collect, [])
    .option('--rf <n>', "the keyspaces' replicas in all data centres together: says what missing nodes cost")
    .option('--json', 'as JSON, one line for each SSTable or snapshot')
    .action(verify);
}

/** `snapshot verify` is `sstable verify` of one whole snapshot. */
export function registerSnapshotVerify(snapshot: Command): void {
  const collect = (value: string, known: readonly string[]) => [...known, value];
  withCommonOptions(
    snapshot
      .command('verify')
      .description('read all of a snapshot and report everything that is missing or damaged; exits 1 when something is')
      .argument('<place>', 's3://bucket/prefix, or a directory of the same layout')
      .option('--keyspace <name>', 'only this one (repeatable)', collect, [])
      .option('--rf <n>', "the keyspaces' replicas in all data centres together: says what missing nodes cost"),
  ).action((place: string, flags: VerifyFlags) => verifyWhole(place, flags, replicationFactorOf(flags)));
}

function replicationFactorOf(flags: VerifyFlags): number | undefined {
  const replicationFactor = flags.rf === undefined ? undefined : Number(flags.rf);
  if (replicationFactor !== undefined && !(Number.isInteger(replicationFactor) && replicationFactor > 0)) {
    throw new UsageError('--rf takes a whole number from 1 on');
  }
  return replicationFactor;
}

async function verify(paths: readonly string[], flags: VerifyFlags): Promise<void> {
  const replicationFactor = replicationFactorOf(flags);
  for (const path of paths) {
    const found = await sstablesAt(path);
    if (found === undefined) await verifyWhole(path, flags, replicationFactor);
    else for (const files of found) await verifyOne(files, flags);
  }
}

async function verifyOne(files: SSTableFiles, flags: VerifyFlags): Promise<void> {
  try {
    const result = await verifySSTable(files);
    const { partitions, rows, digest } = result;
    printResult(flags, { name: files.name, status: 'intact', ...result }, [
      `${files.name}: intact, ${partitions} partitions, ${rows} rows, digest ${digest}`,
    ]);
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    process.exitCode = ExitCode.found;
    const message = describeError(error);
    const document = {
      name: files.name,
      status: 'broken',
      error: { name: error.name, context: error.context, message },
    };
    printResult(flags, document, [`${files.name}: broken: ${message}`]);
  }
}

async function verifyWhole(uri: string, flags: VerifyFlags, replicationFactor: number | undefined): Promise<void> {
  const { objects, prefix } = openSnapshotPlace(uri, (bucket) => createS3ObjectStore(createS3Client(), bucket));
  const progress = createProgress('verify');
  const result = await verifySnapshot(objects, prefix, {
    keyspaces: flags.keyspace.length > 0 ? flags.keyspace : undefined,
    replicationFactor,
    onProgress: (done, total, sstables) => {
      progress.update(
        done,
        total,
        `${sstables} SSTables, ${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`,
      );
    },
  }).finally(() => progress.end());
  const { nodes, sstables, bytes, faults } = result;
  if (nodes.length === 0) throw new UsageError(`${uri} holds neither SSTables nor a snapshot`);
  if (faults.length > 0) process.exitCode = ExitCode.found;
  const status = faults.length === 0 ? 'intact' : 'broken';
  const sum = `${nodes.length} nodes, ${sstables} SSTables, ${(bytes / 1e6).toFixed(1)} MB`;
  printResult(flags, { name: uri, status, ...result }, [
    ...faults.map(({ kind, message }) => `${kind}: ${message}`),
    `${uri}: ${sum}: ${faults.length === 0 ? 'all there, as it was written' : `${faults.length} faults`}`,
  ]);
}

/** A file's SSTable, or those right in a directory; undefined: it is a whole snapshot, or nothing. */
async function sstablesAt(path: string): Promise<readonly SSTableFiles[] | undefined> {
  if (/^[a-z0-9]+:\/\//i.test(path)) return undefined;
  const kind = await stat(path).catch(() => undefined);
  if (kind?.isFile()) return [sstableFilesAt(path)];
  if (!kind?.isDirectory()) throw new UsageError(`${path} is neither a file nor a directory`);
  const found = await listSSTables(path);
  return found.length === 0 ? undefined : found;
}
