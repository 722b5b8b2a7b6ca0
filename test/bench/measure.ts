/** What the benchmarks of the reader share: CPU time of this process, and figures of a process of its own. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** By then V8 has optimised the reader, as the JVM's server compiler has its scanner. */
export const WARM_UP_SECONDS = 5;

export interface Measurement {
  /** Of the CPU. */
  readonly seconds: number;
  readonly wallSeconds: number;
  readonly rounds: number;
  /** Of one round. */
  readonly rows: number;
}

/** All threads: the collector's and the compiler's share is in it. */
function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/**
 * Repeats `work`, which gives the rows it has seen, for some seconds of CPU time (after a warm-up of as many as
 * `warmUpSeconds`), so that a busy machine slows nothing down.
 */
export async function measure(
  seconds: number,
  work: () => Promise<number>,
  warmUpSeconds = WARM_UP_SECONDS,
): Promise<Measurement> {
  let rows = 0;
  for (const warm = cpuSeconds() + warmUpSeconds; cpuSeconds() < warm; ) rows = await work();
  const start = cpuSeconds();
  const wallStart = performance.now();
  let rounds = 0;
  do {
    rows = await work();
    rounds += 1;
  } while (cpuSeconds() - start < seconds);
  return { seconds: cpuSeconds() - start, wallSeconds: (performance.now() - wallStart) / 1000, rounds, rows };
}

/** Highest memory of this process so far, the files that it holds in memory included. */
export function maxRssMiB(): number {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}

/** The JSON that another program of the benchmarks prints, run alone: what ran before it must not slow it down. */
export async function runAlone<T>(program: string, args: readonly string[]): Promise<T> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return JSON.parse(stdout) as T;
}
