/** Which faults happen when: drawn from a seed, so that a report's seed makes them again. */
import type { Random } from '../../integration/support/random.ts';

export const faultKinds = [
  'kill-proxy',
  'kill-node',
  'kill-function',
  'reset',
  'freeze',
  'lose',
  'sqs',
  's3',
  'ledger-away',
  'disk-full',
  'clock-back',
  'clock-forward',
  'vanish',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Since the load began. */
  readonly atMs: number;
  /** How long it lasts; what is killed is started again after that. */
  readonly forMs: number;
  /** Which of several it meets. */
  readonly subject: number;
}

/** The least between two faults. */
const GAP_MS = 1_500;

/** How long each may last. Milliseconds, least and most. */
const LASTS: Readonly<Record<FaultKind, readonly [number, number]>> = {
  'kill-proxy': [0, 1_500],
  'kill-node': [0, 2_000],
  'kill-function': [0, 0],
  reset: [200, 1_500],
  freeze: [500, 3_000],
  lose: [1_000, 4_000],
  sqs: [1_000, 6_000],
  s3: [1_000, 6_000],
  'ledger-away': [2_000, 8_000],
  'disk-full': [2_000, 6_000],
  'clock-back': [2_000, 5_000],
  'clock-forward': [2_000, 5_000],
  vanish: [0, 1_500],
};

/** Faults during which an operator may hope to change the phase. */
const AMID_CHANGES: ReadonlySet<FaultKind> = new Set([
  'kill-proxy',
  'reset',
  'freeze',
  'lose',
  'sqs',
  's3',
  'clock-back',
  'clock-forward',
]);
const FAULTS_AMID_CHANGES = 5;
const SLOW: ReadonlySet<FaultKind> = new Set(['kill-node', 'kill-function', 'ledger-away', 'vanish']);

/** Each kind at least once, in any order and overlapping, over the whole time; more where there is time. */
export function planFaults(random: Random, lastsMs: number, kinds: readonly FaultKind[]): readonly PlannedFault[] {
  const count = Math.max(kinds.length + 2, Math.floor(lastsMs / 5_000));
  const all = Array.from({ length: count }, (_, index) => kinds[index] ?? random.pick(kinds));
  const room = Math.max(GAP_MS, Math.floor((lastsMs - 5_000) / count));
  return slowOnesFirst(random.shuffle(all)).map((kind, index) => {
    const [least, most] = LASTS[kind];
    return {
      kind,
      atMs: 1_000 + index * room + random.below(room),
      forMs: least + random.below(most - least + 1),
      subject: random.below(1_000),
    };
  });
}

/** What is mended slowly is not the last, so that nobody waits for it alone. */
function slowOnesFirst(kinds: readonly FaultKind[]): readonly FaultKind[] {
  const rest = kinds.filter((kind) => !SLOW.has(kind));
  const half = rest.length >> 1;
  const first = [...rest.slice(0, half)];
  for (const [index, kind] of kinds.filter((one) => SLOW.has(one)).entries()) first.splice(2 * index, 0, kind);
  return [...first, ...rest.slice(half)];
}

/** A few short ones, one after the other, while the phase is changed. */
export function planAmidChanges(random: Random, kinds: readonly FaultKind[]): readonly PlannedFault[] {
  const some = random.some(
    kinds.filter((kind) => AMID_CHANGES.has(kind)),
    FAULTS_AMID_CHANGES,
  );
  return some.map((kind, index) => ({
    kind,
    atMs: 500 + index * 2 * GAP_MS + random.below(GAP_MS),
    forMs: LASTS[kind][0] + random.below(500),
    subject: random.below(1_000),
  }));
}

export function describePlan(plan: readonly PlannedFault[]): string {
  return plan.map(({ kind, atMs, forMs, subject }) => `${kind}/${subject} at ${atMs} ms for ${forMs} ms`).join(', ');
}
