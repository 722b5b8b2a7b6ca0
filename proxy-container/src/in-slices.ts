/** Of one turn of the event loop: what is answered meanwhile is late by no more. */
const SLICE_MS = 1;
/** The clock is not read for every item. */
const ITEMS_BETWEEN_LOOKS = 8;

/** Whose next slice it is, one in each turn. */
const waiting: (() => void)[] = [];

/**
 * Works on all in order, a little in each turn of the event loop, so that thousands that come at once hold up nobody else.
 * The first slice is done when this returns, unless others have slices left. Rejects with what `work` throws, and leaves
 * the rest.
 */
export async function inSlices<T>(all: Iterable<T>, work: (one: T) => void): Promise<void> {
  if (waiting.length > 0) await nextSlice();
  let untilMs = performance.now() + SLICE_MS;
  let count = 0;
  for (const one of all) {
    work(one);
    if (++count % ITEMS_BETWEEN_LOOKS !== 0 || performance.now() < untilMs) continue;
    await nextSlice();
    untilMs = performance.now() + SLICE_MS;
  }
}

function nextSlice(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(wakeOne);
  });
}

function wakeOne(): void {
  waiting.shift()?.();
  if (waiting.length > 0) setImmediate(wakeOne);
}
