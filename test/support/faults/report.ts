/** The line that a run of the fault bed ends with, whatever came of it, and how to have the same again. */
import type { Injectors } from './injectors.ts';
import type { Sight } from './look-at-all.ts';
import type { Operator } from './operator.ts';
import type { Oracle } from './oracle.ts';
import type { OwedBy } from './owed-places.ts';
import { settingNames } from './settings.ts';

const count = (value: number): string => value.toLocaleString('en-US');

/** Collects what a run found. */
export class FaultReport {
  readonly silent: string[] = [];
  readonly lost: string[] = [];
  readonly duplicated: string[] = [];
  /** Beside those that the applications saw. */
  readonly faults: string[] = [];
  /** By the commands of the operator. */
  readonly said: string[] = [];
  /** Places that were marked when nothing was owed any more. */
  marked = 0;
  /** Of them, partitions that did differ. */
  differed = 0;
  #seen = 0;
  readonly #noted: Record<OwedBy, number> = { log: 0, journal: 0, queue: 0, marks: 0 };

  look({ differing, silent, tooMuch, notedBy }: Sight): void {
    this.#seen += differing.length;
    for (const by of Object.keys(notedBy) as OwedBy[]) this.#noted[by] += notedBy[by];
    this.silent.push(...silent.map(({ text }) => `noted nowhere: ${text}`));
    this.faults.push(...tooMuch);
  }

  /** @param replayed failed writes that the queue got */
  line(seed: number, oracle: Oracle, injectors: Injectors, operator: Operator, replayed: number): string {
    const { log, journal, queue, marks } = this.#noted;
    const { skipped, done } = injectors;
    const kinds = countsOf(done.map(({ kind }) => kind));
    const refused = [...operator.refused].map(([gate, times]) => `${gate} ${times}`).join(', ');
    return [
      `seed ${seed}`,
      `faults ${done.length} (${kinds})`,
      ...(skipped.length > 0 ? [`not permitted here: ${skipped.join(', ')}`] : []),
      `acknowledged ${count(oracle.acknowledged)}`,
      `unknown ${count(oracle.unknown)}`,
      `reads ${count(oracle.reads)}`,
      `lost ${count(this.lost.length + this.silent.length)}`,
      `duplicated ${count(this.duplicated.length)}`,
      `differed when all stood still ${count(this.#seen)} (noted in the log ${log}, the journal ${journal}, the queue ${queue}, marks ${marks})`,
      `places marked ${count(this.marked)} (${count(this.differed)} differed)`,
      `replayed ${count(replayed)}`,
      `phases ${operator.changed.join(', ') || 'none'}${refused === '' ? '' : ` (closed gates: ${refused})`}`,
    ].join(' · ');
  }
}

function countsOf(names: readonly string[]): string {
  const times = new Map<string, number>();
  for (const name of names) times.set(name, (times.get(name) ?? 0) + 1);
  return [...times].map(([name, many]) => `${name} ${many}`).join(', ');
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
