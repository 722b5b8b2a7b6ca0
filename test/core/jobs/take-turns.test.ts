import { expect, test } from 'vitest';
import { type TurnRules, takeTurns } from '#core/jobs/take-turns.ts';

let nowMillis = 0;
const sleepers: { readonly dueMillis: number; readonly wake: () => void }[] = [];

/** Time passes when nobody has anything to do. All sleep equally long, so the first is due first. */
async function passTime(): Promise<void> {
  while (sleepers.length > 0) {
    for (let turn = 0; turn < 60; turn++) await new Promise(setImmediate);
    const { dueMillis, wake } = sleepers.shift()!;
    nowMillis = Math.max(nowMillis, dueMillis);
    wake();
  }
}

const rules: TurnRules = {
  settleMs: 1000,
  concurrency: 4,
  maxHeldBytes: 1000,
  mayBegin: () => true,
  mayGoOn: () => true,
  sleep: (ms) =>
    new Promise((resolve) => {
      sleepers.push({ dueMillis: nowMillis + ms, wake: resolve });
      if (sleepers.length === 1) void passTime();
    }),
};

interface Trace {
  active: number;
  mostActive: number;
  waiting: number;
  mostWaiting: number;
}

/** Pieces of so many steps each; `at` hears when each step is taken. */
function pieces(count: number, steps: number, heldBytes: number, at: (index: number, step: number) => void = () => {}) {
  const trace: Trace = { active: 0, mostActive: 0, waiting: 0, mostWaiting: 0 };
  const turns = Array.from({ length: count }, (_, index) => {
    let taken = 0;
    return {
      heldBytes,
      async step(): Promise<'ended' | 'wait'> {
        if (taken > 0) trace.waiting--;
        trace.mostActive = Math.max(trace.mostActive, ++trace.active);
        try {
          at(index, taken);
          await new Promise(setImmediate);
        } finally {
          trace.active--;
        }
        if (++taken === steps) return 'ended';
        trace.mostWaiting = Math.max(trace.mostWaiting, ++trace.waiting);
        return 'wait';
      },
    };
  });
  return { turns, trace };
}

test('a hundred waits are one wait, and no more steps are taken at once than allowed', async () => {
  nowMillis = 0;
  const { turns, trace } = pieces(100, 3, 1);
  const ends = await takeTurns(turns, rules);
  expect(ends.every(({ kind }) => kind === 'ended')).toBe(true);
  expect(trace.mostActive).toBe(4);
  expect(nowMillis).toBeLessThan(5000);
});

test('between two steps of one piece there is the whole wait', async () => {
  nowMillis = 0;
  const last = new Map<number, number>();
  const { turns } = pieces(20, 4, 1, (index) => {
    const before = last.get(index);
    if (before !== undefined) expect(nowMillis - before).toBeGreaterThanOrEqual(1000);
    last.set(index, nowMillis);
    nowMillis += 7;
  });
  expect((await takeTurns(turns, rules)).every(({ kind }) => kind === 'ended')).toBe(true);
});

test('nothing new is begun while what waits holds too much', async () => {
  nowMillis = 0;
  const { turns, trace } = pieces(50, 2, 200);
  expect((await takeTurns(turns, rules)).every(({ kind }) => kind === 'ended')).toBe(true);
  // 1000 bytes, and what was under way when they were reached.
  expect(trace.mostWaiting).toBeLessThanOrEqual(5 + 4);
});

test('what fails is said, and all others end', async () => {
  nowMillis = 0;
  const broken = new Error('no');
  const { turns } = pieces(10, 2, 1, (index, step) => {
    if (index === 3 && step === 1) throw broken;
  });
  const ends = await takeTurns(turns, rules);
  expect(ends[3]).toEqual({ kind: 'failed', error: broken });
  expect(ends.filter(({ kind }) => kind === 'ended')).toHaveLength(9);
});

test('once nothing may be begun, what waits is ended and the rest is left', async () => {
  nowMillis = 0;
  let begun = 0;
  const { turns } = pieces(30, 2, 1, (_, step) => {
    if (step === 0) begun++;
  });
  const ends = await takeTurns(turns, { ...rules, mayBegin: () => begun < 10 });
  expect(ends.map(({ kind }) => kind)).toEqual([...Array(10).fill('ended'), ...Array(20).fill('left')]);
});

test('once it may not go on, or is aborted, it returns with what has ended', async () => {
  nowMillis = 0;
  let steps = 0;
  const count = () => {
    steps++;
  };
  const stopped = await takeTurns(pieces(30, 2, 1, count).turns, { ...rules, mayGoOn: () => steps < 12 });
  expect(stopped.every(({ kind }) => kind === 'left')).toBe(true);
  expect(steps).toBeLessThan(12 + rules.concurrency);

  const abort = new AbortController();
  const ends = await takeTurns(
    pieces(30, 2, 1, (index, step) => {
      if (index === 12 && step === 1) {
        abort.abort(new Error('over'));
        throw abort.signal.reason;
      }
    }).turns,
    rules,
    abort.signal,
  );
  expect(ends.filter(({ kind }) => kind === 'failed')).toEqual([]);
  expect(ends.slice(0, 9).every(({ kind }) => kind === 'ended')).toBe(true);
  expect(ends[12]).toEqual({ kind: 'left' });
  expect(ends[29]).toEqual({ kind: 'left' });

  const asleep = new AbortController();
  const sleep = async () => {
    asleep.abort();
    throw asleep.signal.reason;
  };
  expect(await takeTurns(pieces(3, 2, 1).turns, { ...rules, sleep }, asleep.signal)).toEqual(
    Array(3).fill({ kind: 'left' }),
  );
});

test('no piece is no work', async () => {
  expect(await takeTurns([], rules)).toEqual([]);
});
