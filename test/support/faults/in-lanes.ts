/** Few enough that a busy machine answers in time. */
const LANES = 32;

/** Works on all, so many at once. */
export async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const queue = all.values();
  const lane = async (): Promise<void> => {
    for (const one of queue) await work(one);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
