import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 50;
const LONGEST_MS = 300_000;

/** Asks again and again until it holds. @param what ends the sentence "it took too long until" */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + LONGEST_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`it took too long until ${what}`);
    await sleep(POLL_MS);
  }
}
