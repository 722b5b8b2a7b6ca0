/** Changes the phase together with every registered proxy: ask the gates, propose, wait for the drains, activate, wait for the acts. */
import type { Phase } from '../config/schema.ts';
import { GateClosedError } from '../errors.ts';
import { type AskedGate, askGates, gatesOf, refusals, stepKindOf } from '../ledger/gates.ts';
import type { Ledger } from '../ledger/ledger.ts';
import {
  activateProposal,
  hasExpired,
  isDeclaredDead,
  missingActs,
  missingDrains,
  proposePhase,
  withdrawProposal,
} from '../ledger/phase-change.ts';
import type { PhaseRecord } from '../ledger/records.ts';
import type { Logger } from '../ports.ts';
import { collectFacts, collectSlowFacts, type GateSources, lookAgain, type SlowFacts } from './gate-facts.ts';
import { markVanished } from './mark-vanished.ts';

export interface ChangePhaseInput {
  readonly phase: Phase;
  readonly by: string;
  readonly why: string;
  /** Codes of the gates to pass: exactly those that are closed and may be forced. */
  readonly force: readonly string[];
  /** Instances that the caller declares dead. */
  readonly fence: readonly string[];
  readonly withoutProxies: boolean;
  /** How long the proxies may take to drain before the proposal is withdrawn. */
  readonly drainTimeoutMs: number;
  /** What filter rules exclude stays on the origin, which `target-only` leaves behind: the caller gives it up. */
  readonly abandonFiltered?: boolean;
}

export interface ChangePhasePorts {
  readonly ledger: Ledger;
  readonly gates: GateSources;
  readonly logger: Logger;
  readonly now: () => Date;
  readonly sleep: (ms: number) => Promise<void>;
  /** Called when the set of instances that are waited for changes; those that are fenced come with the end of their leases. */
  readonly onWait: (step: 'fence' | 'drain' | 'act', instances: readonly string[]) => void;
}

/** What the gates say of a step, before anything is changed. */
export interface PhaseExamination {
  readonly record: PhaseRecord;
  readonly gates: readonly AskedGate[];
  readonly slow: SlowFacts;
}

const POLL_MS = 100;
/** Definitions may take half a minute, and end before a proxy says that it acts on the phase. */
const MIN_ACT_MS = 60_000;

/**
 * Asks every gate of the step, and changes no phase. What vanished instances have taken with them is marked first.
 * @throws GateClosedError when no phase was ever set, LedgerUnavailableError
 */
export async function examinePhase(input: ChangePhaseInput, ports: ChangePhasePorts): Promise<PhaseExamination> {
  const { ledger, logger, now } = ports;
  const record = await ledger.readPhase();
  if (!record) throw new GateClosedError(`phase → ${input.phase}`, ['no phase was ever set; start a proxy first']);
  const { phase: from } = record.active;
  await markVanished({ ledger, clock: { nowMillis: () => now().getTime() }, logger });
  const slow = await collectSlowFacts(stepKindOf(from, input.phase), ports);
  const facts = await collectFacts(record, slow, wordOf(input), ports);
  return { record, gates: askGates(from, input.phase, facts), slow };
}

/**
 * Resolves to the record in force, with every registered proxy acting on it. To set the phase that is in force already
 * is to wait for that once more, so that a change whose caller died after the activation comes to its end.
 * @throws GateClosedError with the reasons; then the old phase is in force and no proxy holds requests
 */
export async function changePhase(input: ChangePhaseInput, ports: ChangePhasePorts): Promise<PhaseRecord> {
  const { ledger, now } = ports;
  await fence(input.fence, ports);
  const { record: current, gates, slow } = await examinePhase(input, ports);
  const { phase: from, epoch: fromEpoch } = current.active;
  const isInForce = from === input.phase && (!current.proposal || hasExpired(current.proposal, now()));
  const unmet = gates.filter(({ gate }) => !isInForce || OF_WAITING.has(gate)).flatMap((one) => one.unmet);
  const what = `phase ${from} → ${input.phase}`;
  const reasons = refusals(unmet, isInForce ? [] : input.force);
  if (reasons.length > 0) throw new GateClosedError(what, reasons, unmet);
  if (isInForce) return waitForActs(current, input, ports);

  const proposed = await ledger.changePhase((record) => {
    if (record.active.epoch !== fromEpoch) {
      throw new GateClosedError(what, [`the phase is ${record.active.phase} meanwhile; try again`]);
    }
    const { by, why, force, drainTimeoutMs } = input;
    return proposePhase(record, input.phase, { by, why, now: now(), forced: force, drainTimeoutMs });
  });
  const epoch = proposed.proposal?.epoch ?? 0;
  await waitForDrains(proposed, input, ports);
  await askBehind(proposed, slow, input, ports);
  const active = await ledger.changePhase((record) => {
    if (record.proposal?.epoch !== epoch) {
      throw new GateClosedError(`phase → ${input.phase}`, ['the proposal was withdrawn meanwhile; try again']);
    }
    return activateProposal(record, now());
  });
  return waitForActs(active, input, ports);
}

/** Nothing is changed where the phase is in force already. */
const OF_WAITING: ReadonlySet<string> = new Set(['no-instances', 'instance-stale']);

function wordOf({ withoutProxies, abandonFiltered = false }: ChangePhaseInput) {
  return { withoutProxies, abandonFiltered };
}

/**
 * Again behind the proposal: a load that began since either is seen here or sees the proposal before it drops anything, and
 * the proxies have told of their last failures, marks and conditional writes before they said that they have drained.
 */
async function askBehind(
  proposed: PhaseRecord,
  slow: SlowFacts,
  input: ChangePhaseInput,
  ports: ChangePhasePorts,
): Promise<void> {
  const { phase: from } = proposed.active;
  try {
    const again = await lookAgain(slow, ports);
    const facts = await collectFacts({ ...proposed, proposal: null }, again, wordOf(input), ports);
    const unmet = gatesOf(from, input.phase, facts);
    const news = unmet.filter(({ code, isForcible }) => !isForcible || !input.force.includes(code));
    if (news.length === 0) return;
    const reasons = news.map(
      ({ code, text, remedy }) => `${code}: ${text}; ${remedy} (found while the proxies drained)`,
    );
    throw new GateClosedError(`phase ${from} → ${input.phase}`, reasons, unmet);
  } catch (error) {
    await withdraw(proposed, ports.ledger);
    throw error;
  }
}

/** Declares instances dead, and waits for their leases: one that lives stops serving when it renews its own. */
async function fence(instances: readonly string[], ports: ChangePhasePorts): Promise<void> {
  if (instances.length === 0) return;
  const { ledger, now, sleep, onWait } = ports;
  // Before the first of them: whoever has mistaken one name has perhaps mistaken all.
  const known = new Set((await ledger.listProxies()).map(({ instance }) => instance));
  for (const instance of instances) if (!known.has(instance)) throw notRegistered(instance);
  for (const instance of instances) if (!(await ledger.fenceProxy(instance, now()))) throw notRegistered(instance);
  let isTold = false;
  for (;;) {
    const proxies = await ledger.listProxies();
    const alive = proxies.filter((proxy) => instances.includes(proxy.instance) && proxy.fencedAt !== undefined);
    if (alive.every((proxy) => isDeclaredDead(proxy, now()))) return;
    if (!isTold)
      onWait(
        'fence',
        alive.map(({ instance, leaseUntil }) => `${instance} (until ${leaseUntil})`),
      );
    isTold = true;
    await sleep(POLL_MS);
  }
}

function notRegistered(instance: string): GateClosedError {
  return new GateClosedError(`fencing ${instance}`, ['no proxy of this name is registered; see: ringshift phase get']);
}

async function withdraw(proposed: PhaseRecord, ledger: Ledger): Promise<void> {
  await ledger.changePhase((record) =>
    record.proposal?.epoch === proposed.proposal?.epoch ? withdrawProposal(record) : record,
  );
}

async function waitForDrains(proposed: PhaseRecord, input: ChangePhaseInput, ports: ChangePhasePorts): Promise<void> {
  const deadline = ports.now().getTime() + input.drainTimeoutMs;
  let told = '';
  for (;;) {
    const missing = missingDrains(proposed, await ports.ledger.listProxies(), ports.now());
    if (missing.length === 0) return;
    if (told !== missing.join()) ports.onWait('drain', missing);
    told = missing.join();
    if (ports.now().getTime() >= deadline) {
      await withdraw(proposed, ports.ledger);
      throw new GateClosedError(`phase → ${input.phase}`, [
        `not drained after ${input.drainTimeoutMs} ms: ${missing.join(', ')}; the proposal is withdrawn and ${proposed.active.phase} goes on. See their /status`,
      ]);
    }
    await ports.sleep(POLL_MS);
  }
}

/** The change is in force already; a proxy that does not act is a fault to show, not to undo. */
async function waitForActs(
  active: PhaseRecord,
  input: ChangePhaseInput,
  ports: ChangePhasePorts,
): Promise<PhaseRecord> {
  const deadline = ports.now().getTime() + Math.max(input.drainTimeoutMs, MIN_ACT_MS);
  let told = '';
  for (;;) {
    const proxies = await ports.ledger.listProxies();
    const missing = missingActs(active, proxies, ports.now());
    const alive = missing.filter((instance) =>
      proxies.some((proxy) => proxy.instance === instance && Date.parse(proxy.leaseUntil) >= ports.now().getTime()),
    );
    if (missing.length === 0) break;
    if (alive.length === 0) {
      throw new GateClosedError(`settling of ${active.active.phase}`, [
        `the phase is in force, but ${missing.join(', ')} did not say that it acts on it and its lease has run out`,
      ]);
    }
    if (ports.now().getTime() >= deadline) {
      throw new GateClosedError(`settling of ${active.active.phase}`, [
        `the phase is in force, but requests of before it are still under way in ${missing.join(', ')}; wait on with: ringshift phase set ${active.active.phase}`,
      ]);
    }
    if (told !== missing.join()) ports.onWait('act', missing);
    told = missing.join();
    await ports.sleep(POLL_MS);
  }
  if (active.dualWritesSince === null || active.dualWritesSettledAt !== null) return active;
  const settledAt = ports.now().toISOString();
  return ports.ledger.changePhase((record) =>
    record.active.epoch === active.active.epoch ? { ...record, dualWritesSettledAt: settledAt } : record,
  );
}
