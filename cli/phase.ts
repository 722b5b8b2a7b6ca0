import type { Command } from 'commander';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { phases } from '#core/config/schema.ts';
import { withdrawProposal } from '#core/ledger/phase-change.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import { withCommonOptions } from './clusters.ts';
import { openCliLedger } from './open-ledger.ts';
import { type CommonOptions, printResult } from './output.ts';
import { type ChangeOptions, openChange, phaseLines, runChange, withChangeOptions } from './phase-change.ts';

export function register(program: Command): void {
  const phase = program.command('phase').description('the phase of the migration, with its gates');
  withCommonOptions(phase.command('get').description('the phase in force, who acts on it, and who forced what')).action(
    get,
  );
  withChangeOptions(
    withCommonOptions(
      phase
        .command('set')
        .description('change the phase: every registered proxy drains, then all act on it')
        .argument('<phase>', phases.join(' | ')),
    ),
  ).action(set);
  withCommonOptions(phase.command('withdraw').description('take an open proposal back')).action(withdraw);
}

async function get(options: CommonOptions): Promise<void> {
  const config = await readMigrationConfig(options.config);
  const ledger = await openCliLedger(config);
  const [record, proxies] = await Promise.all([ledger.readPhase(), ledger.listProxies()]);
  printResult(options, { phase: record ?? null, proxies }, phaseLines(record, proxies));
}

async function set(name: string, options: ChangeOptions): Promise<void> {
  const phase = parsePhase(name);
  await runChange(phase, options, await openChange(options.config));
}

async function withdraw(options: CommonOptions): Promise<void> {
  const config = await readMigrationConfig(options.config);
  const ledger = await openCliLedger(config);
  const record = await ledger.changePhase(withdrawProposal);
  const proxies = await ledger.listProxies();
  printResult(options, { phase: record, proxies }, phaseLines(record, proxies));
}
