import type { Command } from 'commander';
import { withCommonOptions } from './clusters.ts';
import { type ChangeOptions, expectPhase, openChange, runChange, withChangeOptions } from './phase-change.ts';

export function register(program: Command): void {
  withChangeOptions(
    withCommonOptions(
      program
        .command('rollback')
        .description('the origin answers again: target-primary → dual-sync, for as long as it lacks nothing'),
    ),
  ).action(rollback);
}

async function rollback(options: ChangeOptions): Promise<void> {
  const context = await openChange(options.config);
  const isRight = (phase: string) => phase === 'target-primary';
  const remedy = 'a rollback begins in target-primary, and from target-only there is no way back';
  await expectPhase(context, 'rollback', isRight, remedy);
  await runChange('dual-sync', options, context);
}
