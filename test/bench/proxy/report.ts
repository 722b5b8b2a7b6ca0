import { type Collected, median, type Scenario } from './samples.ts';
import type { Sample } from './tools.ts';

/** CPU seconds per million of zdm-proxy for dual writes of 100 B, 64 × 4, as measured once elsewhere. */
const REFERENCE_ZDM = 58;
const WIDTHS = [20, 12, 12, 10, 12, 12] as const;

/** The figures of every scenario, with ratios to the floor of the same run. */
export function report({ samples, noisy, taken }: Collected, hasZdm: boolean): string[] {
  const lines: string[] = [];
  for (const [scenario, byName] of samples) {
    if (byName.size === 0) lines.push('', `${scenario.name}: no sample was quiet enough`);
    else if (scenario.kind === 'latency') lines.push('', ...latencyTable(scenario, byName));
    else lines.push('', ...costTable(scenario, byName, hasZdm));
  }
  return [...lines, '', `${taken} samples, ${noisy} of them thrown away because other processes used the machine`];
}

type ByName = ReadonlyMap<string, readonly Sample[]>;

function costTable(scenario: Scenario, byName: ByName, hasZdm: boolean): string[] {
  const cpuOf = (name: string): number | undefined => median((byName.get(name) ?? []).map((one) => one.px_cpu_per_m));
  const floorName = [...byName.keys()].find((name) => name.startsWith('floor '));
  const floor = floorName === undefined ? undefined : cpuOf(floorName);
  const zdm = cpuOf('zdm-proxy');
  // The reference figure is of one scenario only.
  const reference = !hasZdm && scenario.kind === 'write' && scenario.inFlight === 4 ? REFERENCE_ZDM : undefined;
  const against = hasZdm ? '÷ zdm-proxy' : reference === undefined ? '' : '÷ reference';
  const lines = [scenario.name, row(['', 'CPU s/M', 'per core/s', 'kernel', '÷ floor', against])];
  for (const [name, list] of byName) {
    const cpu = cpuOf(name)!;
    const kernel = median(list.map((one) => one.px_sys_per_m / one.px_cpu_per_m))!;
    const other = zdm ?? reference;
    lines.push(
      row([
        name,
        cpu.toFixed(2),
        String(Math.round(1e6 / cpu)),
        `${Math.round(kernel * 100)} %`,
        floor === undefined ? '' : (cpu / floor).toFixed(2),
        other === undefined ? '' : (cpu / other).toFixed(3),
      ]),
    );
  }
  return [...lines, limitOf(byName)];
}

/** What keeps the proxy from more, in words. */
function limitOf(byName: ByName): string {
  const ours = byName.get('ours') ?? byName.get('ours origin-only') ?? [];
  const kernel = median(ours.map((one) => one.px_sys_per_m / one.px_cpu_per_m));
  const used = median(ours.map((one) => one.px_util));
  if (kernel === undefined || used === undefined) return '  limit: not measured';
  if (used < 0.9) return `  limit: the load generator; the proxy used ${Math.round(used * 100)} % of its CPU`;
  const what = kernel > 0.5 ? 'system calls' : 'the proxy’s own code';
  return `  limit: ${what} (${Math.round(kernel * 100)} % of the time in the kernel)`;
}

function latencyTable(scenario: Scenario, byName: ByName): string[] {
  const at = (name: string, key: 'p50' | 'p99'): number | undefined =>
    median((byName.get(name) ?? []).map((one) => one[key]));
  const direct = { p50: at('direct', 'p50'), p99: at('direct', 'p99') };
  const lines = [`${scenario.name}, open loop, microseconds`, row(['', 'p50', 'p99', 'added p50', 'added p99'])];
  for (const name of byName.keys()) {
    const added = (key: 'p50' | 'p99'): string => {
      const base = direct[key];
      return base === undefined || name === 'direct' ? '' : (at(name, key)! - base).toFixed(0);
    };
    lines.push(row([name, at(name, 'p50')!.toFixed(0), at(name, 'p99')!.toFixed(0), added('p50'), added('p99')]));
  }
  return lines;
}

function row(cells: readonly string[]): string {
  const padded = cells.map((cell, index) => (index === 0 ? cell.padEnd(WIDTHS[0]) : cell.padStart(WIDTHS[index]!)));
  return `  ${padded.join('')}`.trimEnd();
}
