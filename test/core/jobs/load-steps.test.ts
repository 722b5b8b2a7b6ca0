import { beforeEach, expect, test } from 'vitest';
import { ClusterUnreachableError, PrerequisiteError } from '#core/errors.ts';
import { LoadInterrupt, type LoadSteps, runLoadSteps } from '#core/jobs/load-steps.ts';
import type { RestoreResult } from '#core/jobs/restore-indexes.ts';
import type { RunSummary } from '#core/jobs/summarize-run.ts';

const RESTORED: RestoreResult = { status: 'done', total: 1, built: 1, failed: [], leftToRuns: [] };
const logger = { debug() {}, info() {}, warn() {}, error() {} };
let done: string[];
let nowMillis: number;
let interrupt: LoadInterrupt;
let owedIndexes: string[];

beforeEach(() => {
  done = [];
  nowMillis = 0;
  interrupt = new LoadInterrupt('r1');
  owedIndexes = [];
});

function run(change: Partial<LoadSteps> = {}): Promise<RunSummary> {
  const step = (name: string) => async () => {
    done.push(name);
  };
  const steps: LoadSteps = {
    drop: step('drop'),
    load: step('load'),
    restore: async () => {
      done.push('restore');
      return RESTORED;
    },
    summarize: async () => {
      done.push('summarize');
      return { runId: 'r1', owedIndexes } as unknown as RunSummary;
    },
    ...change,
  };
  const sleep = async (ms: number) => {
    nowMillis += ms;
  };
  return runLoadSteps(steps, interrupt, { clock: { nowMillis: () => nowMillis }, logger, sleep });
}

const fails = (error: Error) => async () => {
  throw error;
};

test('a load without indexes is loaded and summed up', async () => {
  await run({ drop: undefined });
  expect(done).toEqual(['load', 'summarize']);
});

test.each(['drop', 'load'] as const)('indexes come back and the run ends when the step %s fails', async (step) => {
  await expect(run({ [step]: fails(new PrerequisiteError('no right')) })).rejects.toThrow(PrerequisiteError);
  expect(done.slice(-2)).toEqual(['restore', 'summarize']);
});

test('a load without indexes that fails ends its run', async () => {
  await expect(run({ drop: undefined, load: fails(new PrerequisiteError('login')) })).rejects.toThrow('login');
  expect(done).toEqual(['summarize']);
});

test('a target that does not answer for minutes gets its indexes back all the same', async () => {
  let failures = 10;
  await run({
    restore: async () => {
      if (failures-- > 0) throw new ClusterUnreachableError('away');
      done.push('restore');
      return RESTORED;
    },
  });
  expect(nowMillis).toBeGreaterThan(5 * 60_000);
  expect(done).toEqual(['drop', 'load', 'restore', 'summarize']);
});

test('moments without an answer in hours of building do not add up', async () => {
  let failures = 100;
  await run({
    async restore(_, onLook) {
      onLook();
      nowMillis += 3_600_000;
      if (failures-- > 0) throw new ClusterUnreachableError('away');
      done.push('restore');
      return RESTORED;
    },
  });
  expect(done).toEqual(['drop', 'load', 'restore', 'summarize']);
});

test('a target that stays away ends the run, and what is owed is told with the remedy', async () => {
  owedIndexes = ['t_a on ks.t'];
  const restore = fails(new ClusterUnreachableError('away'));
  expect(await run({ restore })).toMatchObject({ owedIndexes });
  expect(done).toEqual(['drop', 'load', 'summarize']);
  const failed = run({ restore, load: fails(new ClusterUnreachableError('login timed out')) });
  await expect(failed).rejects.toThrow(/login timed out\n.*t_a on ks\.t; run: ringshift indexes restore/);
});

test('an interrupt during the drops ends them, and what was dropped is restored', async () => {
  const dropping = run({
    async drop(signal) {
      done.push('drop');
      expect(interrupt.interrupt()).toContain('built first');
      signal.throwIfAborted();
    },
  });
  await expect(dropping).rejects.toThrow('r1 was interrupted');
  expect(done).toEqual(['drop', 'restore', 'summarize']);
});

test('an interrupt while indexes are built ends the waiting and the run, and says who goes on', async () => {
  let told = '';
  const summary = await run({
    async restore(signal) {
      told = interrupt.interrupt();
      signal.throwIfAborted();
      return RESTORED;
    },
  });
  expect(told).toContain('ringshift load stop r1 goes on');
  expect(summary.runId).toBe('r1');
  expect(done).toEqual(['drop', 'load', 'summarize']);
});

test('a second interrupt leaves the indexes to a later call', async () => {
  await run({
    async load() {
      interrupt.interrupt();
      interrupt.interrupt();
    },
  });
  expect(done).toEqual(['drop', 'summarize']);
});
