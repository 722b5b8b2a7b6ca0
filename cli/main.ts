/** The `ringshift` command: finds the verb's file, loads that one only (start-up stays quick), runs it. */
import { Command, CommanderError } from 'commander';
import { ExitCode, reportFailure } from './output.ts';

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
  validate: () => import('./validate.ts'),
  reconcile: () => import('./reconcile.ts'),
  phase: () => import('./phase.ts'),
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

try {
  await main(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
  } else {
    reportFailure(error, { json: process.argv.includes('--json') });
  }
}
