import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { readMigrationConfig, resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { openLedgerStore } from '#adapters/ledger.ts';
import { ledgerTables } from '#adapters/ledger-cassandra.ts';
import { UsageError } from '#core/errors.ts';
import { probeStore } from '#core/ledger/probe-store.ts';
import type { LedgerStore } from '#core/ports.ts';
import { withCommonOptions } from './clusters.ts';
import { openCliLedger } from './open-ledger.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';
import { importRecords, readExport, writeExport } from './state-records.ts';

export function register(program: Command): void {
  const state = program.command('state').description('the ledger: what both halves of the migration agree on');
  withCommonOptions(state.command('list').description('the keys').argument('[prefix]', 'only these', '')).action(list);
  withCommonOptions(
    state.command('init').description('create the keyspace and the tables of a ledger that is in a cluster'),
  ).action(init);
  withCommonOptions(
    state.command('probe').description('write a record, read it, remove it; name the step that failed'),
  ).action(probe);
  withCommonOptions(
    state
      .command('export')
      .description('write all records to a file of JSON lines')
      .argument('<file>', '- for standard output'),
  ).action(exportState);
  withImportOptions(
    state.command('import').description('put the records of an export').argument('<file>', '- for standard input'),
  ).action(importState);
  withImportOptions(
    state
      .command('copy')
      .description('put the records of another ledger, such as that of a directory into that of a cluster')
      .requiredOption('--from-config <file>', 'the migration config that names the other ledger'),
  ).action(copyState);
}

interface ImportOptions extends CommonOptions {
  readonly overwrite?: boolean;
  readonly whileRunning?: boolean;
}

function withImportOptions(command: Command): Command {
  return withCommonOptions(command)
    .option('--overwrite', 'replace records that exist; without it they are kept')
    .option('--while-running', 'though proxies are registered there, whose phase may change under them');
}

const openStore = async (options: CommonOptions): Promise<LedgerStore> =>
  (await openCliLedger(await readMigrationConfig(options.config))).store;

async function list(prefix: string, options: CommonOptions): Promise<void> {
  const keys: string[] = [];
  for await (const key of (await openStore(options)).list(prefix)) keys.push(key);
  printResult(options, { keys }, keys);
}

async function init(options: CommonOptions): Promise<void> {
  const config = await readMigrationConfig(options.config);
  const { ledger } = config;
  if (ledger.kind !== 'cassandra') {
    throw new UsageError(`a ledger of the kind ${ledger.kind} needs no tables; this is for ledger.kind: cassandra`);
  }
  const session = await createCqlSession(await resolveCluster(ledger.cluster, config[ledger.cluster]));
  try {
    const statements = ledgerTables(ledger.keyspace, ledger.replication);
    for (const statement of statements) await session.query(statement);
    printResult(options, { statements }, [`the tables of ${ledger.keyspace} on the ${ledger.cluster} are there`]);
  } finally {
    await session.close();
  }
}

async function probe(options: CommonOptions): Promise<void> {
  const ports = {
    nowMillis: Date.now,
    newId: randomUUID,
    sleep: (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }).catch(() => undefined),
  };
  const outcome = await probeStore(await openStore(options), ports);
  printResult(options, outcome, [
    outcome.isHealthy
      ? `the ledger answers: written, read and removed in ${Math.round(outcome.tookMs)} ms`
      : `the ledger fails to ${outcome.step}: ${outcome.error}`,
  ]);
  if (!outcome.isHealthy) process.exitCode = ExitCode.found;
}

async function exportState(file: string, options: CommonOptions): Promise<void> {
  const records = await writeExport(await openStore(options), file);
  if (file !== '-') printResult(options, { file, records }, [`${records} records in ${file}`]);
}

async function importState(file: string, options: ImportOptions): Promise<void> {
  await importInto(await openStore(options), readExport(file), options);
}

async function copyState(options: ImportOptions & { readonly fromConfig: string }): Promise<void> {
  const from = await openLedgerStore(await readMigrationConfig(options.fromConfig));
  try {
    await importInto(await openStore(options), from.entries(''), options);
  } finally {
    await from.close();
  }
}

async function importInto(
  store: LedgerStore,
  records: AsyncIterable<{ readonly key: string; readonly value: string }>,
  options: ImportOptions,
): Promise<void> {
  const outcome = await importRecords(store, records, {
    overwrite: options.overwrite ?? false,
    whileRunning: options.whileRunning ?? false,
    onProgress: (count) => process.stderr.write(`${count} records so far\n`),
  });
  const { written, kept } = outcome;
  printResult(options, outcome, [`${written} records written, ${kept.length} kept as they were`]);
}
