import type { Command } from 'commander';
import { proxyProgram } from './proxy-program.ts';
import { becomeProgram } from './run-program.ts';

export function register(program: Command): void {
  program
    .command('proxy')
    .description('run the CQL proxy in the foreground')
    .option('--config <file>', 'the migration config (default: config/migration.yaml, or the ZDM_… variables)')
    .action(async (options: { readonly config?: string }) => {
      const args = options.config === undefined ? [] : ['--config', options.config];
      await becomeProgram(await proxyProgram(), args);
    });
}
