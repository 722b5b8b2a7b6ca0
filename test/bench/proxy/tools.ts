import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';

const run = promisify(execFile);
const FOLDER = join(import.meta.dirname, '..', 'cqlbench');

/** Loopback address of the stubs and floors, and the ports of the two stub clusters. */
export const STUB_HOST = process.env['BENCH_HOST'] ?? '127.9.0.1';
export const STUB_PORTS = { origin: 9142, target: 9143 } as const;

/** The CPU of what is measured and the one of everything else. */
export interface Cpus {
  readonly proxy: number;
  readonly rest: number;
}

/** A process that the benchmark has started. */
export interface Started {
  readonly pid: number;
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

/** Builds the programs of cqlbench. undefined: there is no cargo here. */
export async function buildTools(): Promise<string | undefined> {
  const isThere = await run('cargo', ['--version']).then(
    () => true,
    () => false,
  );
  if (!isThere) return undefined;
  await run('cargo', ['build', '--release', '--locked', '--quiet'], { cwd: FOLDER });
  return join(FOLDER, 'target', 'release');
}

/** Starts a program on one CPU; its standard output is a pipe. */
export function startPinned(
  cpu: number,
  command: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly hasChannel?: boolean } = {},
): Started {
  // taskset becomes the program, so the process id is the program's own.
  const child = spawn('taskset', ['-c', String(cpu), ...command], {
    stdio: ['pipe', 'pipe', 'inherit', ...(options.hasChannel ? (['ipc'] as const) : [])],
    env: { ...process.env, ...options.env },
  });
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  return {
    pid: child.pid!,
    child,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await exit;
    },
  };
}

/** Resolves to the first line that `find` accepts; the rest of the output is read and dropped. */
export function lineOf<T>(output: Readable, find: (line: string) => T | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    createInterface({ input: output })
      .on('line', (line) => {
        const found = find(line);
        if (found !== undefined) resolve(found);
      })
      .on('close', () => reject(new Error('a program of the benchmark ended before it was ready')));
  });
}

/** Two stub clusters in one process. */
export async function startStubs(tools: string, cpus: Cpus): Promise<Started> {
  const { origin, target } = STUB_PORTS;
  const command = [join(tools, 'stub'), '--bind', STUB_HOST, '--ports', `${origin},${target}`, '--read-bytes', '100'];
  const stubs = startPinned(cpus.rest, command);
  await lineOf(stubs.child.stdout!, (line) => (line.startsWith('stub listening') ? line : undefined));
  return stubs;
}

/** What one run of the load generator found. */
export interface Sample {
  readonly rps: number;
  /** Microseconds, from the intended time of sending. */
  readonly p50: number;
  readonly p99: number;
  /** Errors, and answers that belong to another request. */
  readonly errs: number;
  readonly bad: number;
  /** Of the proxy: CPU seconds per million requests, in all and in the kernel; CPUs in use; resident MiB. */
  readonly px_cpu_per_m: number;
  readonly px_sys_per_m: number;
  readonly px_util: number;
  readonly px_rss: number;
  /** CPUs that others used meanwhile. */
  readonly foreign: number;
}

export interface LoadOptions {
  readonly to: string;
  readonly clients: number;
  readonly inFlight: number;
  /** See the head of load.rs. */
  readonly mix: string;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly version: number;
  readonly lz4?: boolean;
  /** Requests per second; as many as get through unless given. */
  readonly rate?: number;
  readonly proxyPids: readonly number[];
  /** Of the benchmark too, so not foreign. */
  readonly otherPids: readonly number[];
  /** Errors are told in the sample; otherwise they end the benchmark. */
  readonly mayFail?: boolean;
}

/** Runs the load generator once. @throws Error when it fails */
export async function runLoad(tools: string, cpus: Cpus, options: LoadOptions): Promise<Sample> {
  const { to, clients, inFlight, mix, seconds, warmUpSeconds, version, rate } = options;
  const flags: Record<string, string | number> = {
    to,
    conns: clients,
    inflight: inFlight,
    mix,
    secs: seconds,
    warm: warmUpSeconds,
    proto: version,
    pids: `px=${options.proxyPids.join('+')},rest=${options.otherPids.join('+')}`,
    ...(rate === undefined ? {} : { rate }),
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const command = ['-c', String(cpus.rest), join(tools, 'load'), ...args, ...(options.lz4 ? ['--lz4'] : [])];
  const { stdout } = await run('taskset', command);
  const sample = JSON.parse(stdout) as Sample;
  if (sample.errs + sample.bad > 0 && !options.mayFail)
    throw new Error(`${sample.errs} errors and ${sample.bad} wrong answers`);
  return sample;
}
