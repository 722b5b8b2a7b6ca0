import type { Command } from 'commander';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { UsageError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { type TableRecord, WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import { withCommonOptions } from './clusters.ts';
import { openCliLedger, whoAmI } from './open-ledger.ts';
import { type CommonOptions, printResult } from './output.ts';

export function register(program: Command): void {
  const tables = program.command('tables').description('what is known of each table, and the order of their load');
  withCommonOptions(
    tables
      .command('list')
      .description('state, load, validation and marks of each table')
      .option('--keyspace <name>', 'only of this keyspace'),
  ).action(list);
  withCommonOptions(
    tables
      .command('order')
      .description('which tables are loaded first; it may be changed while a load runs')
      .argument(
        '<place...>',
        'KEYSPACE.TABLE=N: smaller numbers first, those without one last; KEYSPACE.TABLE= for none',
      ),
  ).action(order);
  withCommonOptions(
    tables
      .command('remigrate')
      .description('demand that tables are loaded again, from a snapshot that is taken from now on')
      .argument('<table...>', 'KEYSPACE.TABLE')
      .requiredOption('--why <text>', 'for the record'),
  ).action(remigrate);
}

const openStore = async (options: CommonOptions) => openCliLedger(await readMigrationConfig(options.config));

interface ListedTable extends TableRecord {
  /** Places that may differ. */
  readonly marks: number;
}

async function list(options: CommonOptions & { readonly keyspace?: string }): Promise<void> {
  const ledger = await openStore(options);
  const isWanted = (keyspace: string) => options.keyspace === undefined || options.keyspace === keyspace;
  const records = (await ledger.listTables()).filter(({ keyspace }) => isWanted(keyspace));
  const marks = new Map<string, number>();
  for (const { keyspace, table } of await ledger.listSuspects()) {
    if (isWanted(keyspace)) marks.set(`${keyspace}.${table}`, (marks.get(`${keyspace}.${table}`) ?? 0) + 1);
  }
  const tables = records
    .map((record): ListedTable => ({ ...record, marks: marks.get(`${record.keyspace}.${record.table}`) ?? 0 }))
    .sort((a, b) => (a.order ?? Number.POSITIVE_INFINITY) - (b.order ?? Number.POSITIVE_INFINITY) || 0);
  const keyspaces = [...marks].filter(([name]) => name.endsWith(`.${WHOLE_KEYSPACE}`));
  printResult(options, { tables, keyspaceMarks: Object.fromEntries(keyspaces) }, [
    ...tables.map(describe),
    ...keyspaces.map(([name, count]) => `${name}: ${count} marks; see ringshift schema diff`),
    ...(tables.length === 0 ? ['no load, validation or mark has named a table yet'] : []),
  ]);
}

function describe(table: ListedTable): string {
  const { keyspace, state, order: place, loadedAt, validatedAt, marks, remigrate: again, reasons } = table;
  const latest = reasons.at(-1);
  return [
    `${keyspace}.${table.table}: ${state}`,
    ...(place === undefined ? [] : [`order ${place}`]),
    ...(loadedAt === undefined ? [] : [`loaded ${loadedAt}`]),
    ...(validatedAt === undefined ? [] : [`validated ${validatedAt}`]),
    ...(marks === 0 ? [] : [`${marks} ${marks === 1 ? 'mark' : 'marks'}`]),
    ...(again === undefined ? [] : [`to be loaded again: ${again.why} (${again.by}, ${again.at})`]),
    ...(state === 'suspect' && latest !== undefined ? [`last: ${latest.reason}`] : []),
  ].join(', ');
}

async function order(places: readonly string[], options: CommonOptions): Promise<void> {
  const wanted = places.map(parsePlace);
  const ledger = await openStore(options);
  const changed: TableRecord[] = [];
  for (const { keyspace, table, order: place } of wanted) {
    changed.push(await note(ledger, keyspace, table, { order: place }));
  }
  printResult(options, { tables: changed }, changed.map(describePlace));
}

const describePlace = ({ keyspace, table, order: place }: TableRecord) =>
  `${keyspace}.${table}: ${place === undefined ? 'no order, so after those that have one' : `order ${place}`}`;

async function note(
  ledger: Ledger,
  keyspace: string,
  table: string,
  facts: Pick<TableRecord, 'order'>,
): Promise<TableRecord> {
  const info = { now: new Date(), by: whoAmI(), facts };
  const record = await ledger.decideTable(keyspace, table, (found) => ({ ...info, state: found?.state ?? 'pending' }));
  return record!;
}

async function remigrate(names: readonly string[], options: CommonOptions & { readonly why: string }): Promise<void> {
  const tables = names.map(parseTable);
  if (options.why.trim() === '') throw new UsageError('--why needs words: they are the record of it');
  const ledger = await openStore(options);
  const now = new Date();
  const by = whoAmI();
  const facts = { remigrate: { at: now.toISOString(), why: options.why, by } };
  const changed: TableRecord[] = [];
  for (const { keyspace, table } of tables) {
    const reason = `to be loaded again: ${options.why}`;
    changed.push(await ledger.setTable(keyspace, table, 'suspect', { now, by, reason, facts }));
  }
  printResult(options, { tables: changed }, [
    ...changed.map(({ keyspace, table }) => `${keyspace}.${table} is to be loaded again`),
    'take a snapshot now and load it: a load of an older one is refused',
  ]);
}

function parseTable(text: string): { readonly keyspace: string; readonly table: string } {
  const [, keyspace, table] = /^(\w{1,48})\.([^\s./=]{1,200})$/.exec(text) ?? [];
  if (keyspace === undefined || table === undefined) throw new UsageError(`${text} is not KEYSPACE.TABLE`);
  return { keyspace, table };
}

function parsePlace(text: string): { keyspace: string; table: string; order: number | undefined } {
  const at = text.lastIndexOf('=');
  if (at < 0) throw new UsageError(`${text} is not KEYSPACE.TABLE=N`);
  const place = text.slice(at + 1);
  if (!/^(-?\d{1,9})?$/.test(place)) throw new UsageError(`${text}: the order is a whole number`);
  return { ...parseTable(text.slice(0, at)), order: place === '' ? undefined : Number(place) };
}
