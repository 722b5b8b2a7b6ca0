import type { Command } from 'commander';
import { runProgram } from './run-program.ts';

export function register(parent: Command): void {
  parent
    .command('demo')
    .description('the whole migration on this machine, against real clusters, told step by step')
    .option('--keep', 'leave everything running at the end and say how to connect')
    .action((options: { readonly keep?: boolean }) =>
      runProgram('infra/local/demo/main.ts', options.keep ? ['--keep'] : []),
    );
}
