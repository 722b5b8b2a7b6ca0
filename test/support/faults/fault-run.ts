/** One run of the fault bed: applications write, faults happen, everything is brought together, the oracle judges. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { Random } from '../../integration/support/random.ts';
import { drain, readMarks, reconcileCounters, reconcileMarks, validateAll } from './bring-together.ts';
import { countPlaces, differingPartitions, unnoted } from './differing-partitions.ts';
import type { FaultWorld } from './fault-world.ts';
import { Injectors } from './injectors.ts';
import { lookAtAll, ORACLE_COLUMNS, tornMarks } from './look-at-all.ts';
import { Operator } from './operator.ts';
import { Oracle } from './oracle.ts';
import { owedByMarks } from './owed-places.ts';
import { PhaseTimes } from './phase-times.ts';
import { describePlan, type FaultKind, type PlannedFault, planAmidChanges, planFaults } from './plan.ts';
import { FaultReport, replayCommand } from './report.ts';

const WRITERS = 6;
/** Before the end of the load nothing is replayed any more, so that something is owed when it is looked for. */
const OWING_MS = 5_000;
const TEND_EVERY_MS = 4_000;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

export interface FaultRunOptions {
  readonly seed: number;
  /** Of the faults in one round. */
  readonly lastsMs: number;
  /** Each ends with everything brought together. */
  readonly rounds: number;
  readonly kinds: readonly FaultKind[];
  /** Whether in each round the phase is led to the target and back, amid faults. */
  readonly changesPhase: boolean;
}

/** All of which must be empty. */
interface Findings {
  /** Differs, and neither a log, a journal, the queue nor a mark names it. */
  readonly silent: readonly string[];
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
  /** Errors that no application would try again after, stale reads, writes that were given up, and too much that is marked. */
  readonly faults: readonly string[];
}

export interface FaultRunResult extends Findings {
  /** Writes of the applications that were acknowledged. */
  readonly acknowledged: number;
  readonly reads: number;
  /** Failed writes that the queue got. */
  readonly replayed: number;
  /** Kinds of faults that were asked for and did not happen, though this machine permits them. */
  readonly missing: readonly FaultKind[];
}

/** Prints its report whatever comes of it. */
export async function runFaults(world: FaultWorld, options: FaultRunOptions): Promise<FaultRunResult> {
  const run = await FaultRun.begin(world, options);
  try {
    for (let round = 1; round <= options.rounds; round++) {
      await run.round();
      if (round < options.rounds) run.tell(`after round ${round} of ${options.rounds}: `);
    }
  } catch (error) {
    run.end(false);
    print(describeError(error));
    print(`logs of the proxies: ${await world.keepLogs()}`);
    throw error;
  }
  const result = run.end(true);
  if (isBad(result)) print(`logs of the proxies: ${await world.keepLogs()}`);
  return result;
}

function isBad({ silent, lost, duplicated, faults }: Findings): boolean {
  return silent.length + lost.length + duplicated.length + faults.length > 0;
}

class FaultRun {
  readonly #world: FaultWorld;
  readonly #options: FaultRunOptions;
  readonly #random: Random;
  readonly #apps: readonly string[];
  readonly #keyspaces: readonly string[];
  readonly #oracle: Oracle;
  readonly #injectors: Injectors;
  readonly #operator: Operator;
  readonly #report = new FaultReport();
  readonly #times = new PhaseTimes();
  readonly #plans: (readonly PlannedFault[])[] = [];
  #isCalm = true;

  private constructor(world: FaultWorld, options: FaultRunOptions, apps: readonly string[]) {
    this.#world = world;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#apps = apps;
    this.#keyspaces = [...new Set(apps)];
    this.#oracle = new Oracle({ keyspaces: apps, apps: world.apps });
    this.#injectors = new Injectors(world);
    const { oracle, keyspaces } = { oracle: this.#oracle, keyspaces: this.#keyspaces };
    this.#operator = new Operator({ world, oracle, keyspaces, isCalm: () => this.#isCalm });
  }

  static async begin(world: FaultWorld, options: FaultRunOptions): Promise<FaultRun> {
    // A run before that has failed may have left it paused.
    await world.pauseReplay(false);
    return new FaultRun(world, options, await world.newKeyspaces());
  }

  async round(): Promise<void> {
    const { lastsMs, kinds, changesPhase } = this.#options;
    await this.#underFaults(planFaults(this.#random, lastsMs, kinds), 'faults', () => this.#owe(lastsMs));
    await this.#look();
    await this.#world.pauseReplay(false);
    await this.#bringTogether();
    if (!changesPhase) return;
    await this.#times.time('validate', () => validateAll(this.#world.stacks.configFile, this.#keyspaces));
    await this.#underFaults(planAmidChanges(this.#random, kinds), 'phase changes', () =>
      this.#operator.lead(['dual-sync', 'target-primary', 'dual-sync', 'dual-async']),
    );
    await this.#look();
    await this.#bringTogether();
  }

  /** A long run that is interrupted has said what it saw. */
  tell(when: string): void {
    const line = this.#report.line(
      this.#options.seed,
      this.#oracle,
      this.#injectors,
      this.#operator,
      this.#world.queuedWrites,
    );
    print(`${when}${line}`);
    print(`took: ${this.#times}`);
  }

  /** What is empty if all is well; printed with everything that happened. */
  end(isJudged: boolean): FaultRunResult {
    const { seed } = this.#options;
    const result = this.#report;
    const unhandled = this.#world.unhandledRequests();
    const faults = [...new Set([...this.#oracle.faults, ...result.faults, ...unhandled])];
    this.tell('');
    const { silent, lost, duplicated } = result;
    if (!isJudged || isBad({ silent, lost, duplicated, faults })) {
      print(`the same again: ${replayCommand(seed, process.env)}`);
      for (const plan of this.#plans) print(`planned: ${describePlan(plan)}`);
      print(`done: ${this.#injectors.done.map(({ kind, beganAt }) => `${kind} ${beganAt}`).join(', ')}`);
      for (const found of [...silent, ...lost, ...duplicated, ...faults]) print(found);
      print(result.said.join('\n'));
    }
    const happened = new Set([...this.#injectors.done.map(({ kind }) => kind), ...this.#injectors.skipped]);
    return {
      ...{ silent, lost, duplicated, faults },
      ...{ acknowledged: this.#oracle.acknowledged, reads: this.#oracle.reads, replayed: this.#world.queuedWrites },
      missing: this.#options.kinds.filter((kind) => !happened.has(kind)),
    };
  }

  /** Writes, and lets faults happen, until `work` is done and the last of them is undone. */
  async #underFaults(plan: readonly PlannedFault[], what: string, work: () => Promise<void>): Promise<void> {
    this.#plans.push(plan);
    this.#isCalm = false;
    const oracle = this.#oracle;
    const writing = oracle.run(WRITERS, this.#random);
    const injecting = this.#injectors.run(plan).finally(() => {
      this.#isCalm = true;
    });
    try {
      await this.#times.time(what, () => Promise.all([injecting, work()]));
    } finally {
      oracle.end();
      await Promise.allSettled([writing, injecting]);
    }
    await writing;
  }

  /** Replays as the schedule and the queue do it, but for the last seconds. */
  async #owe(lastsMs: number): Promise<void> {
    const untilMs = Date.now() + lastsMs;
    while (Date.now() < untilMs - OWING_MS) {
      await sleep(Math.min(TEND_EVERY_MS, Math.max(0, untilMs - OWING_MS - Date.now())));
      await this.#world.tendReplay();
    }
    await this.#world.pauseReplay(true);
    await sleep(Math.max(0, untilMs - Date.now()));
  }

  async #look(): Promise<void> {
    await this.#world.clustersAnswer();
    const sight = await this.#times.time('look', () => lookAtAll(this.#world, this.#keyspaces));
    this.#report.look(sight);
  }

  async #bringTogether(): Promise<void> {
    const world = this.#world;
    const keyspaces = this.#keyspaces;
    const { configFile } = world.stacks;
    const report = this.#report;
    const dead = await this.#times.time('drain', () => drain(world));
    if (dead > 0) report.faults.push(`${dead} messages were given up`);
    const differing = await differingPartitions(world, keyspaces, ORACLE_COLUMNS);
    const marks = await readMarks(configFile, keyspaces);
    report.differed += differing.length;
    report.marked += countPlaces(marks);
    report.faults.push(...tornMarks(marks));
    report.silent.push(...unnoted(differing, owedByMarks(marks)).map(({ text }) => `not marked: ${text}`));
    await this.#times.time('reconcile', async () => {
      report.said.push(await reconcileMarks(configFile, keyspaces));
      report.said.push(await reconcileCounters(configFile, keyspaces));
    });
    for (const { text } of await differingPartitions(world, keyspaces, ORACLE_COLUMNS)) {
      report.lost.push(`still different: ${text}`);
    }
    for (const name of ['origin', 'target'] as const) {
      const verdict = await this.#oracle.judge(name, world[name]);
      report.lost.push(...verdict.lost);
      report.duplicated.push(...verdict.duplicated);
    }
  }
}
