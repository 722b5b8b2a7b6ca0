import type { ApplicationReport } from './application-messages.ts';
import type { Step } from './narrator.ts';

/** A table of two columns with a rule above and below. */
export function formatTable(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.max(...rows.map(([name]) => name.length));
  const right = Math.max(...rows.map(([, value]) => value.length));
  const rule = '─'.repeat(left + right + 3);
  return [rule, ...rows.map(([name, value]) => `${name.padEnd(left)}   ${value.padStart(right)}`), rule];
}

/** What the application saw, as lines of the summary. */
export function applicationFacts(report: ApplicationReport): [string, string][] {
  const number = (value: number): string => value.toLocaleString('en-US');
  return [
    ['application: writes / reads', `${number(report.writes)} / ${number(report.reads)}`],
    ['application: answers compared with what was written', number(report.checks)],
    ['application: errors', number(report.errors)],
    ...report.latencies.map(({ phase, operations, p50Ms, p99Ms }): [string, string] => [
      `application: ${number(operations)} operations in ${phase}, p50 / p99`,
      `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)} ms`,
    ]),
  ];
}

/** The time of each step and of all. */
export function stepFacts(steps: readonly Step[], elapsedSeconds: number): [string, string][] {
  return [
    ...steps.map(({ title, seconds }): [string, string] => [title, `${seconds.toFixed(1)} s`]),
    ['all together', `${elapsedSeconds.toFixed(1)} s`],
  ];
}
