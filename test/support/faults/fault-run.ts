/** One run of the fault bed: applications write, faults happen, everything is brought together, the oracle judges. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../integration/support/random.ts';
import { countPlaces, differingPartitions, drain, readMarks, reconcileMarks, unmarked } from './bring-together.ts';
import type { FaultWorld } from './fault-world.ts';
import { Injectors } from './injectors.ts';
import { Oracle } from './oracle.ts';
import { describePlan, type FaultKind, planFaults } from './plan.ts';
import { replayCommand, reportLine } from './report.ts';

const WRITERS = 6;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

export interface FaultRunOptions {
  readonly seed: number;
  readonly lastsMs: number;
  readonly kinds: readonly FaultKind[];
}

/** Everything that must be empty. */
export interface FaultRunResult {
  /** Differs after everything that was owed is applied, and no mark names it. */
  readonly silent: readonly string[];
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
  /** Errors that no application would try again after, and stale reads. */
  readonly faults: readonly string[];
}

/** Prints its report whatever comes of it. */
export async function runFaults(world: FaultWorld, options: FaultRunOptions): Promise<FaultRunResult> {
  const { seed, lastsMs, kinds } = options;
  const random = new Random(seed);
  const plan = planFaults(random, lastsMs, kinds);
  const keyspace = await world.newKeyspace();
  const oracle = new Oracle(keyspace);
  const injectors = new Injectors(world);
  const silent: string[] = [];
  const lost: string[] = [];
  const duplicated: string[] = [];
  let isJudged = false;
  let marked = 0;
  let differed = 0;
  try {
    const writing = oracle.run(world.apps, WRITERS, random);
    try {
      await Promise.all([injectors.run(plan), sleep(lastsMs)]);
    } finally {
      oracle.end();
      await writing;
    }
    await drain(world);
    const differing = await differingPartitions(world, keyspace);
    const marks = await readMarks(world.stacks.configFile, keyspace);
    differed = differing.length;
    marked = countPlaces(marks);
    silent.push(...unmarked(differing, marks).map(({ text }) => text));
    const said = await reconcileMarks(world, keyspace);
    const rest = await differingPartitions(world, keyspace);
    lost.push(...rest.map(({ text }) => `still different: ${text}`));
    if (rest.length > 0) print(said);
    for (const name of ['origin', 'target'] as const) {
      const verdict = await oracle.judge(name, world[name]);
      lost.push(...verdict.lost);
      duplicated.push(...verdict.duplicated);
    }
    isJudged = true;
  } finally {
    const { acknowledged, unknown, faults } = oracle;
    const { done, skipped } = injectors;
    const counts = { acknowledged, unknown, lost: lost.length + silent.length, duplicated: duplicated.length };
    print(reportLine({ seed, done, skipped, ...counts, marked, differed, replayed: world.queuedWrites }));
    if (!isJudged || lost.length + duplicated.length + silent.length + faults.length > 0) {
      print(`the same again: ${replayCommand(seed, process.env)}`);
      print(`logs of the proxies: ${await world.keepLogs()}`);
      print(`planned: ${describePlan(plan)}`);
      print(`done: ${done.map(({ kind, beganAt }) => `${kind} ${beganAt}`).join(', ')}`);
    }
  }
  return { silent, lost, duplicated, faults: [...new Set(oracle.faults)] };
}
