/** The `ringshift` command: finds the verb's file, loads that one only (start-up stays quick), runs it. */
import { Command, CommanderError } from 'commander';
import { UsageError } from '#core/errors.ts';
import { closeLedgers } from './open-ledger.ts';
import { ExitCode, printFailure, reportFailure } from './output.ts';

interface Verb {
  register(program: Command): void;
}

const verbs: Readonly<Record<string, () => Promise<Verb>>> = {
  demo: () => import('./demo.ts'),
  local: () => import('./local.ts'),
  proxy: () => import('./proxy.ts'),
  schema: () => import('./schema.ts'),
  snapshot: () => import('./snapshot.ts'),
  load: () => import('./load.ts'),
  indexes: () => import('./indexes.ts'),
  tables: () => import('./tables.ts'),
  validate: () => import('./validate.ts'),
  reconcile: () => import('./reconcile.ts'),
  phase: () => import('./phase.ts'),
  cutover: () => import('./cutover.ts'),
  rollback: () => import('./rollback.ts'),
  replay: () => import('./replay.ts'),
  sstable: () => import('./sstable.ts'),
  state: () => import('./state.ts'),
  deploy: () => import('./deploy.ts'),
};

async function main(argv: readonly string[]): Promise<void> {
  const program = new Command('ringshift')
    .description(
      'Moves a live Cassandra or ScyllaDB cluster to another one while the application keeps reading and writing.',
    )
    .version('0.1.0')
    .showHelpAfterError('(add --help for the options)')
    .exitOverride();
  const load = verbs[argv[2] ?? ''];
  const wanted = load ? [load] : Object.values(verbs);
  for (const verb of await Promise.all(wanted.map((open) => open()))) verb.register(program);
  await program.parseAsync(argv);
}

/** Commander shows its help for a command without a verb, and calls that `(outputHelp)`. */
function describeUsage(error: CommanderError): string {
  return error.code === 'commander.help' ? 'which verb? See --help' : error.message.replace(/^error: /, '');
}

try {
  await main(process.argv);
} catch (error) {
  const json = process.argv.includes('--json');
  if (!(error instanceof CommanderError)) reportFailure(error, { json });
  else if (error.exitCode !== 0) {
    // What is for people was printed by commander already.
    process.exitCode = ExitCode.usage;
    if (json) printFailure(new UsageError(describeUsage(error)));
  }
} finally {
  await closeLedgers();
}
