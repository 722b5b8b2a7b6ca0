/** What the verbs that change the phase share: their options, their ports, and how gates are shown. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { lookAtClusters } from '#adapters/cassandra/look-at-clusters.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createLogger } from '#adapters/logger.ts';
import { openReplayQueue } from '#adapters/open-queue.ts';
import type { MigrationConfig, Phase } from '#core/config/schema.ts';
import { GateClosedError, UsageError } from '#core/errors.ts';
import { type ChangePhaseInput, type ChangePhasePorts, changePhase, examinePhase } from '#core/jobs/change-phase.ts';
import { gateLimits } from '#core/jobs/gate-facts.ts';
import { type AskedGate, refusals } from '#core/ledger/gates.ts';
import type { PhaseRecord, ProxyRecord } from '#core/ledger/records.ts';
import { whoAmI } from './open-ledger.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';
import { openRuns, readFilter } from './runs.ts';

export interface ChangeOptions extends CommonOptions {
  readonly why: string;
  readonly force: string[];
  readonly fence: string[];
  readonly withoutProxies?: boolean;
  readonly drainTimeout: string;
  readonly abandonFiltered?: boolean;
  readonly dryRun?: boolean;
}

/** The options of every verb that changes the phase. */
export function withChangeOptions(command: Command): Command {
  return command
    .option('--why <text>', 'for the record', '')
    .option('--force <codes>', 'pass these closed gates: exactly those that the refusal names', codes, [])
    .option('--fence <instance>', 'declare a vanished proxy dead (repeatable)', collect, [])
    .option('--without-proxies', 'there is no proxy running')
    .option('--abandon-filtered', 'target-only although filter rules keep data on the origin')
    .option('--drain-timeout <ms>', 'how long proxies may take to drain', '15000')
    .option('--dry-run', 'ask every gate and change nothing; exit code 1 when one is closed');
}

const collect = (value: string, list: string[]) => [...list, value];
const codes = (value: string, list: string[]) => [...list, ...value.split(',').filter((code) => code !== '')];

/** What is known before anything is asked. */
export interface ChangeContext {
  readonly config: MigrationConfig;
  readonly ports: ChangePhasePorts;
}

/** Opens what a change needs. Nothing is contacted yet. */
export async function openChange(configFile: string): Promise<ChangeContext> {
  const { config, ledger, objects } = await openRuns(configFile);
  const [origin, target, filter] = await Promise.all([
    resolveCluster('origin', config.origin),
    resolveCluster('target', config.target),
    readFilter(config),
  ]);
  return {
    config,
    ports: {
      ledger,
      gates: {
        queue: (await openReplayQueue(config.failedWrites, objects)) ?? null,
        lookAtClusters: () => lookAtClusters({ origin, target }, config),
        filter,
        limits: gateLimits(config),
      },
      logger: createLogger('phase', 'warn', 2),
      now: () => new Date(),
      sleep: (ms) => sleep(ms),
      onWait: (step, instances) => process.stderr.write(`${waitingFor(step, instances.join(', '))}\n`),
    },
  };
}

function waitingFor(step: 'fence' | 'drain' | 'act', instances: string): string {
  if (step === 'fence') {
    return `waiting for the lease of ${instances}; with proxy.onLedgerLoss keep, one that can't reach the ledger goes on serving: make sure that it is dead`;
  }
  return `waiting for ${instances} to ${step === 'drain' ? 'drain' : 'act on it'}`;
}

/** Changes the phase, or with `--dry-run` shows what keeps it from being changed. */
export async function runChange(phase: Phase, options: ChangeOptions, context: ChangeContext): Promise<void> {
  const { ports } = context;
  const input = inputOf(phase, options);
  if (options.dryRun) return dryRun(input, options, ports);
  const record = await changePhase(input, ports);
  const proxies = await ports.ledger.listProxies();
  printResult(options, { phase: record, proxies }, phaseLines(record, proxies));
}

function inputOf(phase: Phase, options: ChangeOptions): ChangePhaseInput {
  const drainTimeoutMs = Number(options.drainTimeout);
  if (!Number.isInteger(drainTimeoutMs) || drainTimeoutMs < 1) {
    throw new UsageError(`--drain-timeout takes milliseconds, not ${options.drainTimeout}`);
  }
  return {
    phase,
    by: whoAmI(),
    why: options.why,
    force: options.force,
    fence: options.fence,
    withoutProxies: options.withoutProxies ?? false,
    drainTimeoutMs,
    abandonFiltered: options.abandonFiltered ?? false,
  };
}

async function dryRun(input: ChangePhaseInput, options: ChangeOptions, ports: ChangePhasePorts): Promise<void> {
  if (options.fence.length > 0) throw new UsageError('--dry-run fences nobody; leave --fence out');
  const { record, gates } = await examinePhase(input, ports);
  const { phase: from } = record.active;
  const unmet = gates.flatMap((one) => one.unmet);
  const reasons = refusals(unmet, input.force);
  const last = reasons.length === 0 ? 'the change may be made' : `${from} → ${input.phase} would be refused`;
  printResult(options, { from, to: input.phase, isOpen: reasons.length === 0, gates, reasons }, [
    `${from} → ${input.phase}`,
    ...gateLines(gates),
    last,
  ]);
  if (reasons.length > 0) process.exitCode = ExitCode.found;
}

/** Each gate with ✓ or ✗; under a closed one why, and what to do. */
function gateLines(gates: readonly AskedGate[]): string[] {
  return gates.flatMap(({ title, unmet }) => [
    `  ${unmet.length === 0 ? '✓' : '✗'} ${title}`,
    ...unmet.map(
      ({ code, text, remedy, isForcible }) =>
        `      ${code}: ${text}; ${remedy}${isForcible ? '' : ' (can’t be forced)'}`,
    ),
  ]);
}

/** The phase in force, who acts on it, and what was forced when. */
export function phaseLines(record: PhaseRecord | undefined, proxies: readonly ProxyRecord[]): string[] {
  if (!record) return ['no phase was ever set: no proxy has started yet'];
  const { active, proposal } = record;
  const forced = [...record.history, active].filter((epoch) => (epoch.forced ?? []).length > 0);
  return [
    `phase ${active.phase} (epoch ${active.epoch}) since ${active.since} by ${active.by}${active.why ? `: ${active.why}` : ''}`,
    ...(proposal ? [`proposed: ${proposal.phase} since ${proposal.since} by ${proposal.by}`] : []),
    ...(record.dualWritesSince
      ? [`dual writes since ${record.dualWritesSince}, settled ${record.dualWritesSettledAt ?? 'not yet'}`]
      : []),
    ...forced.map(
      ({ phase, since, by, forced: what }) => `forced by ${by} for ${phase} at ${since}: ${what?.join(',')}`,
    ),
    ...proxies.map(({ instance, actingEpoch, leaseUntil, fencedAt }) =>
      fencedAt === undefined
        ? `proxy ${instance}: acts on epoch ${actingEpoch}, lease until ${leaseUntil}`
        : `proxy ${instance}: declared dead at ${fencedAt}, lease until ${leaseUntil}`,
    ),
  ];
}

/** Where a verb of its own leads from the phase in force. @throws GateClosedError where it has no meaning */
export async function expectPhase(
  { ports }: ChangeContext,
  verb: string,
  isRight: (phase: Phase) => boolean,
  remedy: string,
): Promise<void> {
  const record = await ports.ledger.readPhase();
  if (!record) throw new GateClosedError(verb, ['no phase was ever set; start a proxy first']);
  if (!isRight(record.active.phase))
    throw new GateClosedError(verb, [`the phase is ${record.active.phase}; ${remedy}`]);
}
