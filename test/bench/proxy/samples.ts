import type { Contender, Kind, Running } from './contenders.ts';
import { type Cpus, runLoad, type Sample, STUB_HOST, STUB_PORTS } from './tools.ts';

/** One kind of load. */
export interface Scenario {
  readonly name: string;
  readonly kind: Kind;
  readonly clients: number;
  readonly inFlight: number;
  readonly mix: 'w=100' | 'r=100';
  /** Open loop at this many requests per second. */
  readonly rate?: number;
}

const scenario = (kind: Kind, inFlight: number, mix: Scenario['mix'], what: string, rate?: number): Scenario => ({
  name: rate === undefined ? `${what}, 64 × ${inFlight}` : `${what} at ${rate}/s`,
  kind,
  clients: 64,
  inFlight,
  mix,
  ...(rate === undefined ? {} : { rate }),
});

/** In the order of the report. */
export const SCENARIOS: readonly Scenario[] = [
  scenario('write', 1, 'w=100', 'dual writes'),
  scenario('write', 4, 'w=100', 'dual writes'),
  scenario('write', 64, 'w=100', 'dual writes'),
  scenario('originWrite', 4, 'w=100', 'writes to one cluster'),
  scenario('read', 4, 'r=100', 'reads'),
  scenario('read', 64, 'r=100', 'reads'),
  scenario('latency', 4, 'w=100', 'dual writes', 10_000),
];

/** Samples by scenario and contender; what was thrown away is counted. */
export interface Collected {
  readonly samples: ReadonlyMap<Scenario, ReadonlyMap<string, readonly Sample[]>>;
  readonly noisy: number;
  readonly taken: number;
}

export interface Plan {
  readonly tools: string;
  readonly cpus: Cpus;
  readonly rounds: number;
  readonly seconds: number;
  /** CPUs that others may use during a sample. */
  readonly maxForeign: number;
  readonly scenarios: readonly Scenario[];
  readonly contenders: readonly Contender[];
  readonly stubPid: number;
  note(line: string): void;
}

const DIRECT = 'direct';
/** A noisy sample is taken again this often. */
const ATTEMPTS = 3;

/** Starts everybody, then measures them in turn, in another order in each round. */
export async function collect(plan: Plan): Promise<Collected> {
  const running = new Map<Contender, Running>();
  const samples = new Map(plan.scenarios.map((one) => [one, new Map<string, Sample[]>()]));
  let noisy = 0;
  let taken = 0;
  try {
    for (const contender of plan.contenders) {
      const started = await contender.start();
      running.set(contender, started);
      await warmUp(plan, contender, started);
    }
    for (let round = 0; round < plan.rounds; round++) {
      for (const { scenario, contender } of shuffled(pairs(plan))) {
        for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
          const sample = await take(plan, scenario, contender, contender && running.get(contender));
          taken++;
          if (sample.foreign > plan.maxForeign) {
            noisy++;
            continue;
          }
          const name = contender?.name ?? DIRECT;
          const list = samples.get(scenario)!;
          list.set(name, [...(list.get(name) ?? []), sample]);
          break;
        }
      }
      plan.note(`round ${round + 1} of ${plan.rounds}: ${taken} samples, ${noisy} of them noisy and thrown away`);
    }
  } finally {
    for (const one of running.values()) await one.stop();
  }
  return { samples, noisy, taken };
}

interface Pair {
  readonly scenario: Scenario;
  /** undefined: without a proxy, for what the latency is added to. */
  readonly contender: Contender | undefined;
}

function pairs(plan: Plan): Pair[] {
  return plan.scenarios.flatMap((scenario): Pair[] => [
    ...plan.contenders
      .filter(({ isFor }) => isFor.includes(scenario.kind))
      .map((contender) => ({ scenario, contender })),
    ...(scenario.kind === 'latency' ? [{ scenario, contender: undefined }] : []),
  ]);
}

function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((value) => ({ value, rank: Math.random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ value }) => value);
}

/** Until the compiler has seen every path. */
async function warmUp(plan: Plan, contender: Contender, running: Running): Promise<void> {
  for (const scenario of plan.scenarios.filter(({ kind }) => contender.isFor.includes(kind)).slice(0, 2)) {
    await take(plan, { ...scenario, inFlight: 4 }, contender, running);
  }
}

function take(plan: Plan, scenario: Scenario, contender?: Contender, running?: Running): Promise<Sample> {
  return runLoad(plan.tools, plan.cpus, {
    to: running?.address ?? `${STUB_HOST}:${STUB_PORTS.origin}`,
    clients: scenario.clients,
    inFlight: scenario.inFlight,
    mix: scenario.mix,
    seconds: plan.seconds,
    warmUpSeconds: 1,
    version: contender?.version ?? 4,
    lz4: contender?.lz4 ?? false,
    ...(scenario.rate === undefined ? {} : { rate: scenario.rate }),
    proxyPids: running?.pids ?? [],
    otherPids: [plan.stubPid],
  });
}

/** The middle of some values; undefined of none. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return undefined;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
