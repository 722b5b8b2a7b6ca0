import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { UsageError } from '#core/errors.ts';
import { withCommonOptions } from './clusters.ts';
import { type CommonOptions, printResult } from './output.ts';

const exportSchema = z.strictObject({ version: z.literal(1), records: z.record(z.string(), z.unknown()) });

export function register(program: Command): void {
  const state = program.command('state').description('the ledger: what both halves of the migration agree on');
  withCommonOptions(state.command('list').description('the keys').argument('[prefix]', 'only these', '')).action(list);
  withCommonOptions(
    state.command('export').description('write all records to a JSON file').argument('<file>', '- for standard output'),
  ).action(exportState);
  withCommonOptions(
    state
      .command('import')
      .description('put all records of an export; existing keys are kept unless --overwrite')
      .argument('<file>')
      .option('--overwrite', 'replace records that exist'),
  ).action(importState);
}

const openStore = async (options: CommonOptions) =>
  openLedger((await readMigrationConfig(options.config)).ledger).store;

async function list(prefix: string, options: CommonOptions): Promise<void> {
  const keys: string[] = [];
  for await (const key of (await openStore(options)).list(prefix)) keys.push(key);
  printResult(options, { keys }, keys);
}

async function exportState(file: string, options: CommonOptions): Promise<void> {
  const store = await openStore(options);
  const records: Record<string, unknown> = {};
  for await (const key of store.list('')) {
    const entry = await store.get(key);
    if (entry) records[key] = JSON.parse(entry.value);
  }
  const text = `${JSON.stringify({ version: 1, records }, null, 2)}\n`;
  if (file === '-') {
    process.stdout.write(text);
    return;
  }
  await writeFile(file, text, { mode: 0o600 });
  printResult(options, { file, records: Object.keys(records).length }, [
    `${Object.keys(records).length} records in ${file}`,
  ]);
}

async function importState(file: string, options: CommonOptions & { readonly overwrite?: boolean }): Promise<void> {
  const parsed = exportSchema.safeParse(await readJson(file));
  if (!parsed.success)
    throw new UsageError(`${file} is not an export of the ledger: ${parsed.error.issues[0]?.message}`);
  const store = await openStore(options);
  let written = 0;
  const kept: string[] = [];
  for (const [key, value] of Object.entries(parsed.data.records)) {
    if (!options.overwrite && (await store.get(key))) {
      kept.push(key);
      continue;
    }
    await store.put(key, JSON.stringify(value));
    written++;
  }
  printResult(options, { written, kept }, [`${written} records written, ${kept.length} kept as they were`]);
}

async function readJson(file: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new UsageError(`${file} can't be read: ${(cause as NodeJS.ErrnoException).code}`, { cause });
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`${file} is not an export of the ledger: it is no JSON`, { cause });
  }
}
