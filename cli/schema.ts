import type { Command } from 'commander';
import {
  applySchema,
  compareElements,
  describeIfPresent,
  describeKeyspace,
  elementsFrom,
  toTargetStatements,
} from '#adapters/cassandra/copy-schema.ts';
import { readIndexes } from '#adapters/cassandra/index-admin.ts';
import { readSchema, readTypeNames, readViews } from '#adapters/cassandra/read-schema.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import { SchemaMismatchError } from '#core/errors.ts';
import { clearDefinitionMarks } from '#core/jobs/clear-marks.ts';
import { compareIndexes } from '#core/model/compare-indexes.ts';
import { compareSchemas, type SchemaDifference } from '#core/model/compare-schema.ts';
import { findUnmovable } from '#core/model/find-unmovable.ts';
import { createRenames, type Renames } from '#core/model/rename.ts';
import { withBothClusters, withCommonOptions } from './clusters.ts';
import { openCliLedger } from './open-ledger.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';

interface CopyArguments extends CommonOptions {
  readonly replication?: string;
  readonly skipIndexes?: boolean;
  readonly dryRun?: boolean;
}

export function register(program: Command): void {
  const schema = program.command('schema').description("create the target's schema, or compare the two");
  withCommonOptions(
    schema
      .command('copy')
      .description('create keyspaces of the origin on the target; safe to run again')
      .argument('<keyspace...>', 'keyspaces')
      .option('--replication <map>', "the target's replication, a CQL map (default: as on the origin)")
      .option('--skip-indexes', 'leave secondary indexes out')
      .option('--dry-run', 'print the statements only'),
  ).action(copy);
  withCommonOptions(
    schema
      .command('diff')
      .description('compare keyspaces; exit code 1 when they differ')
      .argument('<keyspace...>', 'keyspaces'),
  ).action(diff);
}

async function copy(keyspaces: string[], options: CopyArguments): Promise<void> {
  await withBothClusters(options.config, async ({ config, origin, target }) => {
    const renames = createRenames(config.renames);
    const applied: { keyspace: string; type: string; name: string; statement: string }[] = [];
    for (const keyspace of keyspaces) await refuseUnmovable(keyspace, origin, target, renames);
    for (const keyspace of keyspaces) {
      const elements = toTargetStatements(keyspace, await describeKeyspace(origin, keyspace), {
        renames,
        replication: options.replication ?? null,
        skipIndexes: options.skipIndexes ?? false,
      });
      if (options.dryRun) applied.push(...elements.map((element) => ({ keyspace, ...element })));
      else await applySchema(target, elements, (element) => applied.push({ keyspace, ...element }));
    }
    printResult(
      options,
      { applied: !options.dryRun, elements: applied },
      options.dryRun
        ? applied.map((element) => `${element.statement};`)
        : applied.map((element) => `${element.type} ${element.keyspace}.${element.name} is on the target`),
    );
    if (options.dryRun) return;
    const found = [
      ...(await differences(keyspaces, origin, target, renames)),
      ...(options.skipIndexes ? [] : await indexDifferences(keyspaces, origin, target, renames)),
    ];
    const faults = found.filter(({ severity }) => severity === 'error');
    if (faults.length > 0) {
      throw new SchemaMismatchError(
        `the target has tables or indexes that do not fit:\n${faults.map((fault) => `  ${fault.table}: ${fault.message}`).join('\n')}`,
      );
    }
  });
}

async function diff(keyspaces: string[], options: CommonOptions): Promise<void> {
  await withBothClusters(options.config, async ({ config, origin, target }) => {
    const renames = createRenames(config.renames);
    const since = new Date();
    const found = [
      ...(await differences(keyspaces, origin, target, renames)),
      ...(await indexDifferences(keyspaces, origin, target, renames)),
      ...(await elementDifferences(keyspaces, origin, target, renames)),
    ];
    const cleared = found.length === 0 ? await clearKeyspaceMarks(keyspaces, since, config) : 0;
    printResult(
      options,
      { differences: found, clearedMarks: cleared },
      found.length === 0
        ? ['the schemas are equal', ...(cleared > 0 ? [`${cleared} marks of missing definitions are taken away`] : [])]
        : found.map(({ severity, table, message }) => `${severity}: ${table}: ${message}`),
    );
    if (found.length > 0) process.exitCode = ExitCode.found;
  });
}

type Cluster = Parameters<typeof readSchema>[0];

/** Before the first statement: what the rules would tear apart fails on the server without a word of the remedy. */
async function refuseUnmovable(keyspace: string, origin: Cluster, target: Cluster, renames: Renames): Promise<void> {
  if (renames.isEmpty) return;
  const [tables, views] = await Promise.all([readSchema(origin, keyspace), readViews(origin, keyspace)]);
  const places = renames.targetKeyspaces(keyspace);
  const types = new Map(
    await Promise.all(places.map(async (place) => [place, await readTypeNames(target, place)] as const)),
  );
  const faults = findUnmovable(tables, views, renames, (place, type) => types.get(place)?.has(type) ?? false);
  if (faults.length > 0) {
    throw new SchemaMismatchError(
      `the renames do not fit ${keyspace}:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    );
  }
}

async function indexDifferences(
  keyspaces: readonly string[],
  origin: Cluster,
  target: Cluster,
  renames: Renames,
): Promise<readonly SchemaDifference[]> {
  const found = keyspaces.map(async (keyspace) => {
    const theirs = await Promise.all(renames.targetKeyspaces(keyspace).map((place) => readIndexes(target, place)));
    return compareIndexes(keyspace, await readIndexes(origin, keyspace), theirs.flat(), renames);
  });
  return (await Promise.all(found)).flat();
}

/** What is neither table nor index: types, functions, views. */
async function elementDifferences(
  keyspaces: readonly string[],
  origin: Cluster,
  target: Cluster,
  renames: Renames,
): Promise<readonly SchemaDifference[]> {
  const all: SchemaDifference[] = [];
  for (const keyspace of keyspaces) {
    const mine = await describeKeyspace(origin, keyspace);
    const places = renames
      .targetKeyspaces(keyspace)
      .map(async (place) => elementsFrom(keyspace, place, await describeIfPresent(target, place), renames));
    const { onlyInOrigin, onlyInTarget } = compareElements(mine, (await Promise.all(places)).flat());
    for (const name of onlyInOrigin)
      all.push({ severity: 'error', table: keyspace, message: `${name} is missing on the target` });
    for (const name of onlyInTarget)
      all.push({ severity: 'warning', table: keyspace, message: `${name} exists on the target only` });
  }
  return all;
}

/** The proxy marks a keyspace whose definition reached one cluster only; equal schemas settle that. */
async function clearKeyspaceMarks(keyspaces: readonly string[], since: Date, config: MigrationConfig): Promise<number> {
  const { store } = await openCliLedger(config);
  let count = 0;
  for (const keyspace of new Set(keyspaces)) {
    count += await clearDefinitionMarks(keyspace, since, store, { nowMillis: Date.now });
  }
  return count;
}

async function differences(
  keyspaces: readonly string[],
  origin: Cluster,
  target: Cluster,
  renames: Renames,
): Promise<readonly SchemaDifference[]> {
  const all: SchemaDifference[] = [];
  const readTarget = (keyspace: string) =>
    readSchema(target, keyspace).catch((error: unknown) => {
      if (error instanceof SchemaMismatchError) return [];
      throw error;
    });
  for (const keyspace of keyspaces) {
    const mine = await readSchema(origin, keyspace);
    const theirs = (await Promise.all(renames.targetKeyspaces(keyspace).map(readTarget))).flat();
    // Compared under the names of the origin.
    const renamed = theirs.flatMap((table) => {
      const back = renames.toOrigin(table);
      return back?.keyspace === keyspace ? [{ ...table, ...back }] : [];
    });
    for (const difference of compareSchemas(mine, renamed)) {
      all.push({ ...difference, table: `${keyspace}.${difference.table}` });
    }
  }
  return all;
}
