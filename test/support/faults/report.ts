/** The line that a run of the fault bed ends with, whatever came of it, and how to have the same again. */

import type { FaultKind } from './plan.ts';
import { settingNames } from './settings.ts';

export interface FaultReport {
  readonly seed: number;
  readonly done: readonly { readonly kind: FaultKind }[];
  readonly skipped: readonly FaultKind[];
  readonly acknowledged: number;
  readonly unknown: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly marked: number;
  readonly differed: number;
  readonly replayed: number;
}

const count = (value: number): string => value.toLocaleString('en-US');

export function reportLine(report: FaultReport): string {
  const byKind = new Map<FaultKind, number>();
  for (const { kind } of report.done) byKind.set(kind, (byKind.get(kind) ?? 0) + 1);
  const kinds = [...byKind].map(([kind, times]) => `${kind} ${times}`).join(', ');
  return [
    `seed ${report.seed}`,
    `faults ${report.done.length} (${kinds})`,
    ...(report.skipped.length > 0 ? [`not permitted here: ${report.skipped.join(', ')}`] : []),
    `acknowledged ${count(report.acknowledged)}`,
    `unknown ${count(report.unknown)}`,
    `lost ${count(report.lost)}`,
    `duplicated ${count(report.duplicated)}`,
    `places marked ${count(report.marked)} (${count(report.differed)} differed)`,
    `replayed ${count(report.replayed)}`,
  ].join(' · ');
}

/** The command that runs a failing seed again. */
export function replayCommand(seed: number, env: NodeJS.ProcessEnv): string {
  const options = [
    `--seed ${seed}`,
    ...(env[settingNames.minutes] ? [`--minutes ${env[settingNames.minutes]}`] : []),
    `--only ${env[settingNames.only] ?? 'faults'}`,
  ];
  return `npm run test:faults -- ${options.join(' ')}`;
}
