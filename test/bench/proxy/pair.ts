import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxyStatus } from '../../../proxy-container/src/admin/status.ts';
import { type Running, startOurs } from './contenders.ts';
import { median } from './samples.ts';
import { type Cpus, runLoad } from './tools.ts';

const CLIENTS = 64;

/** What two processes of one host cost against one, and how they share the clients. Gives lines of the report. */
export async function measurePair(
  tools: string,
  cpus: Cpus,
  { rounds, seconds, stubPid }: { readonly rounds: number; readonly seconds: number; readonly stubPid: number },
): Promise<string[]> {
  const one = await startOurs(cpus, 'dual-async');
  const two = await startOurs(cpus, 'dual-async', { proxy: { processes: 2 } });
  try {
    const processes = await processesOf(two);
    const pids = new Map([
      [one, one.pids],
      // The host hands clients over: it is a part of what two processes cost.
      [two, [...two.pids, ...processes.map(({ pid }) => pid)]],
    ]);
    const costs = new Map<Running, number[]>([
      [one, []],
      [two, []],
    ]);
    const takenBefore = processes.map(takenOf);
    for (let round = 0; round <= rounds; round++) {
      for (const running of round % 2 === 0 ? [one, two] : [two, one]) {
        const sample = await runLoad(tools, cpus, {
          to: running.address,
          clients: CLIENTS,
          inFlight: 4,
          mix: 'w=100',
          seconds,
          warmUpSeconds: 1,
          version: 4,
          proxyPids: pids.get(running)!,
          otherPids: [stubPid],
        });
        // The first one is for the compiler.
        if (round > 0) costs.get(running)!.push(sample.px_cpu_per_m);
      }
    }
    const taken = (await processesOf(two)).map((process, index) => takenOf(process) - takenBefore[index]!);
    const all = taken.reduce((sum, count) => sum + count, 0);
    const [alone, together] = [median(costs.get(one)!)!, median(costs.get(two)!)!];
    return [
      '',
      `two processes, dual writes, ${CLIENTS} × 4: ${together.toFixed(2)} CPU s/M, one: ${alone.toFixed(2)}, ratio ${(together / alone).toFixed(2)}`,
      `  of ${all} clients they took ${taken.map((count) => `${Math.round((count / all) * 100)} %`).join(' and ')}`,
    ];
  } finally {
    await Promise.all([one.stop(), two.stop()]);
  }
}

const takenOf = ({ counters }: ProxyStatus): number => counters['clientConnectionsTotal'] ?? 0;

/** As soon as both serve. */
async function processesOf({ admin }: Running): Promise<readonly ProxyStatus[]> {
  for (;;) {
    const answer = await fetch(`http://${admin}/status`);
    const { processes = [] } = answer.ok ? ((await answer.json()) as ProxyStatus) : {};
    if (processes.length === 2) return processes;
    await sleep(100);
  }
}
