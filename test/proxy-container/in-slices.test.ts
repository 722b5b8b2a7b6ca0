import { expect, test } from 'vitest';
import { inSlices } from '../../proxy-container/src/in-slices.ts';

const items = (count: number) => Array.from({ length: count }, (_, at) => at);

/** Takes a while of the processor. */
function work(): void {
  for (const untilMs = performance.now() + 0.2; performance.now() < untilMs; );
}

/** How often others had their turn until it was over. */
async function turnsUntil(over: Promise<unknown>): Promise<number> {
  let isOver = false;
  void over.then(() => {
    isOver = true;
  });
  let turns = 0;
  for (; !isOver; turns++) await new Promise(setImmediate);
  return turns;
}

test('a few are worked on at once', () => {
  const seen: number[] = [];
  void inSlices(items(5), (one) => seen.push(one));
  expect(seen).toEqual(items(5));
});

test('many are worked on in order, and others have their turns in between', async () => {
  const seen: number[] = [];
  const all = inSlices(items(500), (one) => {
    seen.push(one);
    work();
  });
  expect(seen.length).toBeLessThan(500);
  // 100 ms of work, one or two in each turn.
  expect(await turnsUntil(all)).toBeGreaterThan(20);
  expect(seen).toEqual(items(500));
});

test('several take turns with each other, and all come to their end', async () => {
  const seen: string[] = [];
  const all = ['a', 'b', 'c'].map((name) =>
    inSlices(items(100), () => {
      seen.push(name);
      work();
    }),
  );
  await Promise.all(all);
  expect(seen).toHaveLength(300);
  expect(seen.lastIndexOf('a')).toBeGreaterThan(seen.indexOf('c'));
});

test('what fails is told, and leaves the rest', async () => {
  const seen: number[] = [];
  const failing = inSlices(items(5), (one) => {
    seen.push(one);
    if (one === 2) throw new Error('no');
  });
  await expect(failing).rejects.toThrow('no');
  expect(seen).toEqual([0, 1, 2]);
});
