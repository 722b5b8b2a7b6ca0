import { describeError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';

/** What the health check of a store came to. */
export type ProbeOutcome =
  | { readonly isHealthy: true; readonly tookMs: number }
  | { readonly isHealthy: false; readonly step: 'write' | 'read' | 'remove'; readonly error: string };

const STEP_MS = 5_000;

export interface ProbePorts {
  readonly nowMillis: () => number;
  readonly newId: () => string;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Writes a record of its own, reads it and removes it, each within five seconds; names the step that failed. */
export async function probeStore(store: LedgerStore, ports: ProbePorts): Promise<ProbeOutcome> {
  const key = `probe/${ports.newId()}.json`;
  const value = JSON.stringify({ probe: key });
  const startedAt = ports.nowMillis();
  const steps = [
    ['write', async () => void (await store.put(key, value, null))],
    ['read', async () => requireSame((await store.get(key))?.value, key)],
    ['remove', async () => store.remove(key)],
  ] as const;
  for (const [step, run] of steps) {
    try {
      await within(run(), ports);
    } catch (error) {
      // What is left of it is in nobody's way.
      if (step === 'read') await within(store.remove(key), ports).catch(() => undefined);
      return { isHealthy: false, step, error: describeError(error) };
    }
  }
  return { isHealthy: true, tookMs: ports.nowMillis() - startedAt };
}

function requireSame(found: string | undefined, key: string): void {
  const text = found === undefined ? undefined : (JSON.parse(found) as { probe?: string }).probe;
  if (text !== key) throw new Error(found === undefined ? 'it is not there' : 'it is another one');
}

async function within(work: Promise<void>, { sleep }: ProbePorts): Promise<void> {
  const done = new AbortController();
  const late = sleep(STEP_MS, done.signal).then(() => {
    if (!done.signal.aborted) throw new Error(`no answer within ${STEP_MS} ms`);
  });
  late.catch(() => undefined);
  try {
    await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}
