import { once } from 'node:events';
import { join } from 'node:path';
import { cachedBundle } from '#adapters/program-bundle.ts';
import type { ProbeReport } from '../proxy-probe.ts';
import { type Running, startOurs } from './contenders.ts';
import { type Cpus, lineOf, runLoad, startPinned } from './tools.ts';

const PROBE = join(import.meta.dirname, '..', 'proxy-probe.ts');
const ROOT = join(import.meta.dirname, '..', '..', '..');
const CLIENTS = 64;
const STEADY_RATE = 20_000;

/** Asks the probe inside a proxy. */
export async function ask(running: Running, what: 'memory' | 'pauses'): Promise<ProbeReport> {
  const { child } = running.process;
  const answer = once(child, 'message');
  child.send(what);
  const [report] = (await answer) as [ProbeReport];
  return report;
}

/** Starts the proxy with the probe inside, as plain JavaScript: type stripping would be a good part of what is measured. */
export async function startProbed(cpus: Cpus, proxy: object = {}, targetPort?: number): Promise<Running> {
  const probe = await cachedBundle({ main: PROBE }, join(ROOT, '.ringshift', 'bench', 'probe'), [PROBE]);
  const nodeFlags = ['--expose-gc', '--import', probe];
  return startOurs(cpus, 'dual-async', { nodeFlags, hasChannel: true, proxy, targetPort });
}

/** Logs clients in that then do nothing; `leave` closes them. */
export async function idleClients(
  tools: string,
  cpus: Cpus,
  to: string,
  count: number,
): Promise<{ leave(): Promise<void> }> {
  const started = startPinned(cpus.rest, [join(tools, 'load'), '--to', to, '--idle', String(count)]);
  await lineOf(started.child.stdout!, (line) => (line.endsWith('idle') ? line : undefined));
  return {
    async leave() {
      started.child.stdin!.end('\n');
      await started.stop();
    },
  };
}

/** Pauses of the collector at a steady rate, then memory with few and with many clients. Gives lines of the report. */
export async function measureMemory(
  tools: string,
  cpus: Cpus,
  options: { readonly seconds: number; readonly idle: number; readonly stubPid: number },
): Promise<string[]> {
  const running = await startProbed(cpus, { maxClients: options.idle + 1000 });
  try {
    const load = (seconds: number, rate?: number) =>
      runLoad(tools, cpus, {
        to: running.address,
        clients: CLIENTS,
        inFlight: rate === undefined ? 4 : 16,
        mix: 'w=50,r=50',
        seconds,
        warmUpSeconds: 1,
        version: 4,
        ...(rate === undefined ? {} : { rate }),
        proxyPids: running.pids,
        otherPids: [options.stubPid],
      });
    await load(3);
    await ask(running, 'pauses');
    await load(options.seconds, STEADY_RATE);
    const { longestPauseMs, pauses, pausedMs } = await ask(running, 'pauses');
    const few = await idleClients(tools, cpus, running.address, CLIENTS);
    const before = await ask(running, 'memory');
    const many = await idleClients(tools, cpus, running.address, options.idle);
    const after = await ask(running, 'memory');
    await many.leave();
    await few.leave();
    const perClient = ((after.rssMiB - before.rssMiB) * 1024) / options.idle;
    const share = ((pausedMs / (options.seconds + 1)) * 0.1).toFixed(1);
    return [
      `collector at ${STEADY_RATE} requests/s for ${options.seconds} s: longest pause ${longestPauseMs.toFixed(2)} ms, ${pauses} pauses, ${share} % of the time`,
      `memory after a collection with ${CLIENTS} clients: ${before.rssMiB} MiB resident (heap ${before.heapMiB} MiB)`,
      `${options.idle} more idle clients: ${after.rssMiB} MiB resident, ${perClient.toFixed(1)} KiB for each`,
    ];
  } finally {
    await running.stop();
  }
}
