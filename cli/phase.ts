import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { openLedger } from '#adapters/ledger.ts';
import { type Phase, phases } from '#core/config/schema.ts';
import { UsageError } from '#core/errors.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import { withdrawProposal } from '#core/ledger/phase-change.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import type { PhaseRecord, ProxyRecord } from '#core/ledger/records.ts';
import { withCommonOptions } from './clusters.ts';
import { type CommonOptions, printResult } from './output.ts';
import { readFilter } from './runs.ts';

interface SetOptions extends CommonOptions {
  readonly why: string;
  readonly force?: boolean;
  readonly fence: string[];
  readonly withoutProxies?: boolean;
  readonly drainTimeout: string;
  readonly abandonFiltered?: boolean;
}

export function register(program: Command): void {
  const phase = program.command('phase').description('the phase of the migration, with its gates');
  withCommonOptions(phase.command('get').description('the phase in force and who acts on it')).action(get);
  withCommonOptions(
    phase
      .command('set')
      .description('change the phase: every registered proxy drains, then all act on it')
      .argument('<phase>', phases.join(' | '))
      .option('--why <text>', 'for the record', '')
      .option('--force', 'allow a step over several phases')
      .option('--fence <instance>', 'declare a vanished proxy dead (repeatable)', collect, [])
      .option('--without-proxies', 'there is no proxy running')
      .option('--abandon-filtered', 'target-only although filter rules keep data on the origin')
      .option('--drain-timeout <ms>', 'how long proxies may take to drain', '15000'),
  ).action(set);
  withCommonOptions(phase.command('withdraw').description('take an open proposal back')).action(withdraw);
}

const collect = (value: string, list: string[]) => [...list, value];

async function get(options: CommonOptions): Promise<void> {
  const config = await readMigrationConfig(options.config);
  const ledger = openLedger(config.ledger);
  const [record, proxies] = await Promise.all([ledger.readPhase(), ledger.listProxies()]);
  print(options, record, proxies);
}

async function set(name: string, options: SetOptions): Promise<void> {
  const phase: Phase = parsePhase(name);
  const drainTimeoutMs = Number(options.drainTimeout);
  if (!Number.isInteger(drainTimeoutMs) || drainTimeoutMs < 1) {
    throw new UsageError(`--drain-timeout takes milliseconds, not ${options.drainTimeout}`);
  }
  const config = await readMigrationConfig(options.config);
  const ledger = openLedger(config.ledger);
  const record = await changePhase(
    {
      phase,
      by: `${userInfo().username}@${hostname()}`,
      why: options.why,
      force: options.force ?? false,
      fence: options.fence,
      withoutProxies: options.withoutProxies ?? false,
      drainTimeoutMs,
      hasFilterRules: !(await readFilter(config)).isEmpty,
      abandonFiltered: options.abandonFiltered ?? false,
    },
    {
      ledger,
      now: () => new Date(),
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      onWait: (step, instances) =>
        process.stderr.write(`waiting for ${instances.join(', ')} to ${step === 'drain' ? 'drain' : 'act on it'}\n`),
    },
  );
  print(options, record, await ledger.listProxies());
}

async function withdraw(options: CommonOptions): Promise<void> {
  const config = await readMigrationConfig(options.config);
  const ledger = openLedger(config.ledger);
  print(options, await ledger.changePhase(withdrawProposal), await ledger.listProxies());
}

function print(options: CommonOptions, record: PhaseRecord | undefined, proxies: readonly ProxyRecord[]): void {
  const lines = record
    ? [
        `phase ${record.active.phase} (epoch ${record.active.epoch}) since ${record.active.since} by ${record.active.by}`,
        ...(record.proposal ? [`proposed: ${record.proposal.phase} since ${record.proposal.since}`] : []),
        ...(record.dualWritesSince
          ? [`dual writes since ${record.dualWritesSince}, settled ${record.dualWritesSettledAt ?? 'not yet'}`]
          : []),
        ...proxies.map(
          (proxy) => `proxy ${proxy.instance}: acts on epoch ${proxy.actingEpoch}, lease until ${proxy.leaseUntil}`,
        ),
      ]
    : ['no phase was ever set: no proxy has started yet'];
  printResult(options, { phase: record ?? null, proxies }, lines);
}
