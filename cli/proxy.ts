import type { Command } from 'commander';
import { runProgram } from './run-program.ts';

export function register(program: Command): void {
  program
    .command('proxy')
    .description('run the CQL proxy in the foreground')
    .option('--config <file>', 'the migration config (default: config/migration.yaml, or the ZDM_… variables)')
    .action((options: { readonly config?: string }) =>
      runProgram('proxy-container/src/main.ts', options.config === undefined ? [] : ['--config', options.config]),
    );
}
