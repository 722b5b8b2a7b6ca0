/**
 * The phase as a state machine, pure: propose → every proxy drains and acknowledges → activate, or withdraw.
 * @see docs/correctness.md traps 16 and 22
 */

import type { Phase } from '../config/schema.ts';
import { GateClosedError } from '../errors.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { PhaseProposal, PhaseRecord, ProxyRecord } from './records.ts';

/** The first record, written once when the migration starts. */
export function firstPhaseRecord(phase: Phase, by: string, now: Date): PhaseRecord {
  const since = now.toISOString();
  const dual = phase !== 'origin-only' ? since : null;
  return {
    version: 1,
    active: { epoch: 1, phase, since, by, why: 'first start' },
    proposal: null,
    lastEpoch: 1,
    dualWritesSince: dual,
    dualWritesSettledAt: null,
    history: [],
  };
}

/** Which cluster answers the application in a phase. */
export function primaryOf(phase: Phase): ClusterName {
  return phase === 'target-primary' || phase === 'target-only' ? 'target' : 'origin';
}

/** Which cluster receives copies in a phase, if any. */
export function shadowOf(phase: Phase): ClusterName | undefined {
  if (phase === 'dual-async' || phase === 'dual-sync') return 'target';
  return phase === 'target-primary' ? 'origin' : undefined;
}

/** Whether requests must be held between the drain and the activation: only when another cluster starts to answer. */
export function changesPrimary(from: Phase, to: Phase): boolean {
  return primaryOf(from) !== primaryOf(to);
}

/**
 * Proposes a phase. Whether the step may be made is asked of the gates.
 * @throws GateClosedError when a proposal is open or the phase is in force already
 * @see core/ledger/gates.ts
 */
export function proposePhase(
  record: PhaseRecord,
  phase: Phase,
  who: {
    readonly by: string;
    readonly why: string;
    readonly now: Date;
    /** Codes of the gates that are closed and passed nevertheless. */
    readonly forced?: readonly string[];
    /** How long the proxies have to drain. Milliseconds. */
    readonly drainTimeoutMs?: number;
  },
): PhaseRecord {
  const reasons: string[] = [];
  if (record.proposal && !hasExpired(record.proposal, who.now)) {
    reasons.push(
      `a change to ${record.proposal.phase} is under way since ${record.proposal.since}; wait for it or run: ringshift phase withdraw`,
    );
  }
  if (record.active.phase === phase) reasons.push(`the phase is ${phase} already`);
  if (reasons.length > 0) throw new GateClosedError(`phase ${record.active.phase} → ${phase}`, reasons);
  const epoch = Math.max(record.lastEpoch, record.active.epoch, record.proposal?.epoch ?? 0) + 1;
  const drainTimeoutMs = who.drainTimeoutMs ?? DEFAULT_DRAIN_MS;
  const proposal: PhaseProposal = {
    epoch,
    phase,
    since: who.now.toISOString(),
    by: who.by,
    why: who.why,
    ...(who.forced && who.forced.length > 0 ? { forced: [...who.forced] } : {}),
    expiresAt: new Date(who.now.getTime() + drainTimeoutMs + EXPIRY_MARGIN_MS).toISOString(),
  };
  return { ...record, proposal, lastEpoch: epoch };
}

const DEFAULT_DRAIN_MS = 15_000;
/** Whoever proposed takes a failed proposal back itself; this long after it should have, it is taken for dead. */
const EXPIRY_MARGIN_MS = 15_000;

/** Whether whoever proposed it must have died: then any party may take the proposal back. */
export function hasExpired(proposal: PhaseProposal, now: Date): boolean {
  const end = proposal.expiresAt ?? new Date(Date.parse(proposal.since) + DEFAULT_DRAIN_MS + EXPIRY_MARGIN_MS);
  return now.getTime() > new Date(end).getTime();
}

/** Puts the proposal in force. Call it only when every registered proxy has drained for it. */
export function activateProposal(record: PhaseRecord, now: Date): PhaseRecord {
  const proposal = record.proposal;
  if (!proposal) throw new GateClosedError('activation', ['there is no proposal']);
  const since = now.toISOString();
  const { expiresAt: _, ...epoch } = proposal;
  const startsDualWrites = record.active.phase === 'origin-only' && proposal.phase !== 'origin-only';
  const endsDualWrites = proposal.phase === 'origin-only';
  return {
    ...record,
    active: { ...epoch, since },
    proposal: null,
    dualWritesSince: endsDualWrites ? null : startsDualWrites ? since : record.dualWritesSince,
    dualWritesSettledAt: endsDualWrites || startsDualWrites ? null : record.dualWritesSettledAt,
    history: [...record.history, record.active].slice(-50),
  };
}

/** Takes the proposal back; proxies resume the old epoch. Its number stays used. */
export function withdrawProposal(record: PhaseRecord): PhaseRecord {
  return { ...record, proposal: null };
}

/** Clocks of whoever fences and of who is fenced may differ by so much: longer than proxies accept. */
const FENCE_MARGIN_MS = 2_000;

/**
 * Whether somebody has fenced the proxy and its lease is over: a process that lives stops serving when it renews its lease,
 * and with `onLedgerLoss: stop` also when it can't.
 */
export function isDeclaredDead({ fencedAt, leaseUntil }: ProxyRecord, now: Date): boolean {
  return fencedAt !== undefined && Date.parse(leaseUntil) + FENCE_MARGIN_MS < now.getTime();
}

/** The instances that have not drained for the proposed epoch yet. */
export function missingDrains(record: PhaseRecord, proxies: readonly ProxyRecord[], now: Date): readonly string[] {
  const epoch = record.proposal?.epoch ?? record.active.epoch;
  return proxies
    .filter((proxy) => proxy.drainedForEpoch < epoch && !isDeclaredDead(proxy, now))
    .map((proxy) => proxy.instance);
}

/** The instances that do not act on the active epoch yet. */
export function missingActs(record: PhaseRecord, proxies: readonly ProxyRecord[], now: Date): readonly string[] {
  return proxies
    .filter((proxy) => proxy.actingEpoch < record.active.epoch && !isDeclaredDead(proxy, now))
    .map((proxy) => proxy.instance);
}
