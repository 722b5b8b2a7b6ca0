import type { Command } from 'commander';
import { withCommonOptions } from './clusters.ts';
import { type ChangeOptions, expectPhase, openChange, runChange, withChangeOptions } from './phase-change.ts';

export function register(program: Command): void {
  withChangeOptions(
    withCommonOptions(
      program
        .command('cutover')
        .description('the target answers from now on: dual-sync → target-primary, where every gate is open'),
    ),
  ).action(cutover);
}

async function cutover(options: ChangeOptions): Promise<void> {
  const context = await openChange(options.config);
  const isRight = (phase: string) => phase === 'dual-sync';
  await expectPhase(context, 'cutover', isRight, 'a cut-over begins in dual-sync: ringshift phase set dual-sync');
  await runChange('target-primary', options, context);
}
