import type { Command } from 'commander';
import { runProgram } from './run-program.ts';

const program = 'infra/local/main.ts';

interface LocalOptions {
  readonly json?: boolean;
  readonly test?: boolean;
}

function toArguments(verb: string, options: LocalOptions): string[] {
  return [verb, ...(options.json ? ['--json'] : []), ...(options.test ? ['--test'] : [])];
}

export function register(parent: Command): void {
  const local = parent.command('local').description('two real Cassandra clusters and a local AWS on this machine');
  local
    .command('up')
    .description('start them and deploy the stacks; what already runs is left as it is')
    .action(() => runProgram(program, ['up']));
  local
    .command('down')
    .description('stop them')
    .option('--test', 'those that the integration tests left running')
    .action((options: LocalOptions) => runProgram(program, toArguments('down', options)));
  local
    .command('status')
    .description('what runs; exit code 1 when something does not')
    .option('--json', 'print the result as one JSON document')
    .option('--test', 'those of the integration tests')
    .action((options: LocalOptions) => runProgram(program, toArguments('status', options)));
}
