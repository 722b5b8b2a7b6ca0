/** Changes the phase together with every registered proxy: propose, wait for the drains, activate, wait for the acts. */
import type { Phase } from '../config/schema.ts';
import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import {
  activateProposal,
  changesPrimary,
  hasExpired,
  missingActs,
  missingDrains,
  primaryOf,
  proposePhase,
  withdrawProposal,
} from '../ledger/phase-change.ts';
import { type PhaseRecord, type ProxyRecord, type SuspectRecord, WHOLE_KEYSPACE } from '../ledger/records.ts';
import { listSavedIndexes } from '../ledger/saved-indexes.ts';

export interface ChangePhaseInput {
  readonly phase: Phase;
  readonly by: string;
  readonly why: string;
  /** Skip the rule of one step at a time. */
  readonly force: boolean;
  /** Instances to take out of the ledger first: they are declared dead by the caller. */
  readonly fence: readonly string[];
  readonly withoutProxies: boolean;
  /** How long the proxies may take to drain before the proposal is withdrawn. */
  readonly drainTimeoutMs: number;
  /** Filter rules keep data on the origin, which `target-only` leaves behind. */
  readonly hasFilterRules?: boolean;
  /** The caller knows that; what the rules exclude is given up. */
  readonly abandonFiltered?: boolean;
}

export interface ChangePhasePorts {
  readonly ledger: Ledger;
  readonly now: () => Date;
  readonly sleep: (ms: number) => Promise<void>;
  /** Called when the set of instances that are waited for changes. */
  readonly onWait: (step: 'drain' | 'act', instances: readonly string[]) => void;
}

const POLL_MS = 100;
/** Definitions may take half a minute, and end before a proxy says that it acts on the phase. */
const MIN_ACT_MS = 60_000;

/**
 * Resolves to the record in force, with every registered proxy acting on it. To set the phase that is in force already
 * is to wait for that once more, so that a change whose caller died after the activation comes to its end.
 * @throws GateClosedError with the reasons; then the old phase is in force and no proxy holds requests
 */
export async function changePhase(input: ChangePhaseInput, ports: ChangePhasePorts): Promise<PhaseRecord> {
  const { ledger, now } = ports;
  for (const instance of input.fence) await ledger.removeProxy(instance);
  const proxies = await ledger.listProxies();
  const current = await ledger.readPhase();
  // To wait once more for what is in force changes nothing that the definitions could be needed for.
  const isChange = current?.active.phase !== input.phase;
  const missing = isChange ? await obstacles(input, current, ledger) : [];
  const reasons = [...readiness(input, proxies, current, now()), ...missing];
  if (reasons.length > 0) throw new GateClosedError(`phase → ${input.phase}`, reasons);

  if (current && current.active.phase === input.phase && (!current.proposal || hasExpired(current.proposal, now()))) {
    return waitForActs(current, input, ports);
  }
  const proposed = await ledger.changePhase((record) =>
    proposePhase(record, input.phase, {
      by: input.by,
      why: input.why,
      now: now(),
      force: input.force,
      drainTimeoutMs: input.drainTimeoutMs,
    }),
  );
  const epoch = proposed.proposal?.epoch ?? 0;
  await waitForDrains(proposed, input, ports);
  // Again behind the proposal: a load that began since either is seen here or sees the proposal before it drops anything,
  // and the proxies have told of the last conditional writes before they said that they have drained.
  const owed = await obstacles(input, proposed, ledger);
  if (owed.length > 0) {
    await withdraw(proposed, ledger);
    throw new GateClosedError(`phase → ${input.phase}`, owed);
  }
  const active = await ledger.changePhase((record) => {
    if (record.proposal?.epoch !== epoch) {
      throw new GateClosedError(`phase → ${input.phase}`, ['the proposal was withdrawn meanwhile; try again']);
    }
    return activateProposal(record, now());
  });
  return waitForActs(active, input, ports);
}

function readiness(
  input: ChangePhaseInput,
  proxies: readonly ProxyRecord[],
  current: PhaseRecord | undefined,
  now: Date,
): string[] {
  if (!current) return ['no phase was ever set; start a proxy first'];
  const reasons: string[] = [];
  if (proxies.length === 0 && !input.withoutProxies) {
    reasons.push('no proxy is registered; start one, or say that there is none with --without-proxies');
  }
  if (input.phase === 'target-only' && input.hasFilterRules && !input.abandonFiltered) {
    reasons.push(
      'filter rules keep data on the origin, which nothing reads or writes in target-only: load it and take the rules away, or give it up with --abandon-filtered',
    );
  }
  for (const proxy of proxies) {
    if (Date.parse(proxy.leaseUntil) < now.getTime()) {
      reasons.push(
        `proxy ${proxy.instance} has not been heard of since ${proxy.leaseUntil}; it may still serve: restart it, or declare it dead with --fence ${proxy.instance}`,
      );
    }
  }
  return reasons;
}

async function obstacles(input: ChangePhaseInput, current: PhaseRecord | undefined, ledger: Ledger): Promise<string[]> {
  const isToTarget = primaryOf(input.phase) === 'target';
  const movesPrimary = current !== undefined && changesPrimary(current.active.phase, input.phase);
  if (input.force || !(isToTarget || movesPrimary)) return [];
  // Once for both: clients wait meanwhile, and there may be thousands.
  const marks = await ledger.listSuspects();
  return [
    ...(isToTarget ? await missingDefinitions(marks, ledger) : []),
    ...(movesPrimary ? missingConditionals(marks) : []),
  ];
}

/** No cluster should begin to decide conditional writes while it lacks what the other one has decided. */
function missingConditionals(marks: readonly SuspectRecord[]): string[] {
  const tables = new Map<string, SuspectRecord>();
  for (const mark of marks) {
    if (mark.code === 'conditional-missing') tables.set(`${mark.keyspace}.${mark.table}`, mark);
  }
  return [...tables].map(
    ([table, { reason, at, keyspace }]) =>
      `${table}: ${reason} (${at}); wait until the queue is empty, then ringshift validate start --keyspace ${keyspace} takes the mark away (--force to go without)`,
  );
}

/** The target should not become the primary while it lacks definitions that the application has made. */
async function missingDefinitions(suspects: readonly SuspectRecord[], ledger: Ledger): Promise<string[]> {
  const owed = (await listSavedIndexes(ledger.store)).filter(({ state }) => state !== 'restored');
  const marks = suspects.filter(({ table }) => table === WHOLE_KEYSPACE);
  return [
    ...marks.map(
      ({ keyspace, reason, at }) =>
        `${keyspace}: ${reason} (${at}); make the schemas equal, then ringshift schema diff ${keyspace} takes the mark away (--force to go without)`,
    ),
    ...owed.map(
      ({ keyspace, table, runId, indexes }) =>
        `${keyspace}.${table}: load ${runId} has dropped its indexes (${indexes.map(({ name }) => name).join(', ')}), and they are not back; wait for it, or run: ringshift indexes restore, or for one that nobody wants: ringshift indexes forget ${keyspace}.${table} NAME (--force to go without)`,
    ),
  ];
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
    const missing = missingDrains(proposed, await ports.ledger.listProxies());
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
    const missing = missingActs(active, proxies);
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
