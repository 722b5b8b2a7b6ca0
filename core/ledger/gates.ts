/**
 * The gates of a change of phase, pure: what must be so before it, told of facts that somebody has collected.
 * @see docs/correctness.md trap 16 and the table of phases
 */
import type { Phase } from '../config/schema.ts';
import type { ClosedGate } from '../errors.ts';
import { checkTables } from './gate-checks-tables.ts';
import { checkWorld } from './gate-checks-world.ts';
import type { GateFacts } from './gate-facts.ts';
import { primaryOf } from './phase-change.ts';
import { phaseIndex } from './phase-names.ts';

/** What a step means to the gates: the phase it leads to, `rollback` to the origin, or `back` under the same primary. */
export type StepKind = Exclude<Phase, 'origin-only'> | 'rollback' | 'back';

/** The kind of the step from one phase to another one. */
export function stepKindOf(from: Phase, to: Phase): StepKind {
  if (primaryOf(from) === 'target' && primaryOf(to) === 'origin') return 'rollback';
  return phaseIndex(to) < phaseIndex(from) || to === 'origin-only' ? 'back' : to;
}

/** Gates in the order in which they are shown; the first part of a code is the name of its gate. */
const GATES = {
  'change-under-way': { title: 'no other change is under way', forcible: false, asked: 'always' },
  'step-skips-phase': { title: 'one phase at a time', forcible: true, asked: 'always' },
  'no-way-back': { title: 'the phase has a way back', forcible: true, asked: 'always' },
  'no-instances': { title: 'proxies are registered', forcible: false, asked: 'always' },
  'instance-stale': { title: 'every instance is heard of', forcible: false, asked: 'always' },
  'instance-not-acked': { title: 'every instance acts on the phase in force', forcible: false, asked: 'always' },
  'filter-in-force': { title: 'no filter rule leaves data behind', forcible: false, asked: ['target-only'] },
  hole: { title: 'the origin lacks nothing', forcible: false, asked: ['rollback'] },
  'cluster-away': { title: 'both clusters answer', forcible: true, asked: 'forward' },
  'schemas-differ': {
    title: 'the schemas are equal',
    forcible: true,
    asked: ['dual-async', 'dual-sync', 'target-primary', 'rollback'],
  },
  'clock-skew': { title: 'the clocks of all nodes are within bounds', forcible: true, asked: 'forward' },
  'instance-blind': { title: 'every instance notes its writes under way', forcible: true, asked: 'dual' },
  'journal-not-empty': { title: 'the journals are empty', forcible: true, asked: 'dual' },
  'marks-waiting': { title: 'the ledger has every suspect mark', forcible: true, asked: 'dual' },
  'queue-unknown': { title: 'the queue of failed writes answers', forcible: true, asked: 'dual' },
  'queue-not-empty': { title: 'the queue of failed writes is empty', forcible: true, asked: 'primary' },
  'queue-old': { title: 'failed writes in the queue are young', forcible: true, asked: ['dual-sync'] },
  'dead-letters': { title: 'no failed write was given up', forcible: true, asked: 'dual' },
  'breaker-open': { title: 'the replay is not held up', forcible: true, asked: 'dual' },
  'load-running': { title: 'no load is under way', forcible: true, asked: 'data' },
  'table-not-loaded': { title: 'every table is loaded', forcible: true, asked: 'data' },
  remigrate: { title: 'no table must be loaded again', forcible: true, asked: 'data' },
  'indexes-owed': { title: 'loads have given all indexes back', forcible: true, asked: 'data' },
  'table-not-validated': { title: 'every table was found equal', forcible: true, asked: 'primary' },
  suspect: { title: 'no table is suspect', forcible: true, asked: 'primary' },
  'shadow-failed-recently': { title: 'no copy has failed lately', forcible: true, asked: 'primary' },
  'conditional-missing': { title: 'no conditional write is missing', forcible: true, asked: 'primary' },
  'counters-drift': { title: 'no counter has lost an increment', forcible: true, asked: 'primary' },
  'definition-missing': { title: 'no definition is missing', forcible: true, asked: 'primary' },
} as const satisfies Record<
  string,
  { title: string; forcible: boolean; asked: keyof typeof SETS | readonly StepKind[] }
>;

const SETS = {
  always: ['dual-async', 'dual-sync', 'target-primary', 'target-only', 'rollback', 'back'],
  /** But for a step back, which must be possible when much is broken. */
  forward: ['dual-async', 'dual-sync', 'target-primary', 'rollback'],
  dual: ['dual-sync', 'target-primary', 'target-only', 'rollback'],
  data: ['dual-sync', 'target-primary', 'target-only'],
  primary: ['target-primary', 'target-only', 'rollback'],
} as const satisfies Record<string, readonly StepKind[]>;

export type GateName = keyof typeof GATES;
export const gateNames = Object.keys(GATES) as readonly GateName[];

/** What a check found; `of` tells the instances, tables or nodes of one gate apart. */
export interface Finding {
  readonly gate: GateName;
  readonly of?: string;
  readonly text: string;
  readonly remedy: string;
}

/** One gate of a step: open where nothing is unmet. */
export interface AskedGate {
  readonly gate: GateName;
  readonly title: string;
  readonly unmet: readonly ClosedGate[];
}

/** Whether the gate is asked at a step of this kind. */
export function isAsked(gate: GateName, kind: StepKind): boolean {
  const { asked } = GATES[gate];
  const kinds: readonly StepKind[] = typeof asked === 'string' ? SETS[asked] : asked;
  return kinds.includes(kind);
}

/** All gates of the step, with what keeps each closed. */
export function askGates(from: Phase, to: Phase, facts: GateFacts): readonly AskedGate[] {
  const kind = stepKindOf(from, to);
  const findings = [...checkWorld(from, to, facts), ...checkTables(from, to, facts)];
  return gateNames
    .filter((gate) => isAsked(gate, kind))
    .map((gate) => ({
      gate,
      title: GATES[gate].title,
      unmet: findings
        .filter((finding) => finding.gate === gate)
        .map(({ of, text, remedy }) => ({
          code: of === undefined ? gate : `${gate}:${of}`,
          text,
          remedy,
          isForcible: GATES[gate].forcible,
        })),
    }));
}

/** What is unmet of all gates of the step. */
export function gatesOf(from: Phase, to: Phase, facts: GateFacts): readonly ClosedGate[] {
  return askGates(from, to, facts).flatMap(({ unmet }) => unmet);
}

/** The codes that may be forced, as `--force` wants them. */
export function forcibleCodes(unmet: readonly ClosedGate[]): readonly string[] {
  return unmet.filter(({ isForcible }) => isForcible).map(({ code }) => code);
}

/**
 * Why the change is refused; none: it may go on. What is forced must be exactly what is closed and can be forced, so that
 * nobody forces what he has not read.
 */
export function refusals(unmet: readonly ClosedGate[], force: readonly string[]): readonly string[] {
  const codes = forcibleCodes(unmet);
  const left = unmet.filter(({ code, isForcible }) => !isForcible || !force.includes(code));
  const idle = force.filter((code) => !codes.includes(code));
  if (left.length === 0 && idle.length === 0) return [];
  const reasons = left.map(({ code, text, remedy }) => `${code}: ${text}; ${remedy}`);
  if (idle.length > 0) reasons.push(`--force names what is not closed: ${idle.join(',')}`);
  if (left.every(({ isForcible }) => isForcible)) {
    reasons.push(
      codes.length > 0 ? `to go on all the same, repeat all of it: --force ${codes.join(',')}` : 'leave --force out',
    );
  }
  return reasons;
}
