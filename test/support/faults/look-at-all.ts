/** The clusters and all that is noted of their differences at one moment, while no proxy moves. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { readMarks } from './bring-together.ts';
import { type DifferingPartition, differingPartitions, names, unnoted } from './differing-partitions.ts';
import type { FaultWorld } from './fault-world.ts';
import { type OwedBy, type OwedPlace, owedByMarks, owedByMessage, owedOnDisk } from './owed-places.ts';

/** Of the tables that the oracle writes: what is compared. */
export const ORACLE_COLUMNS = {
  plain: 'v, n, writetime(v), writetime(n)',
  aging: 'v, n, writetime(v), writetime(n), ttl(v) AS life',
  conditional: 'v, writetime(v)',
  lists: 'l',
  counts: 'c',
} as const;

/** A cluster may still be at work on what it got last. */
const SETTLE_MS = 300;

export interface Sight {
  readonly differing: readonly DifferingPartition[];
  /** Of them, those of which nobody knows. */
  readonly silent: readonly DifferingPartition[];
  /** What somebody has noted as everything, and why it should not be: no fault damages what lies on a disk. */
  readonly tooMuch: readonly string[];
  /** How many of them each has noted. */
  readonly notedBy: Readonly<Record<OwedBy, number>>;
}

/**
 * Stops the proxies where they are, and looks. What is found on their disks is what would be found there if all of them died
 * now. Of the queue everything counts that it was ever given: who has applied a message has taken it out.
 */
export async function lookAtAll(world: FaultWorld, keyspaces: readonly string[]): Promise<Sight> {
  world.signalProxies('SIGSTOP');
  try {
    await sleep(SETTLE_MS);
    const [differing, marks, ...disks] = await Promise.all([
      differingPartitions(world, keyspaces, ORACLE_COLUMNS),
      readMarks(world.stacks.configFile, keyspaces),
      ...world.proxies.map((_, index) => owedOnDisk(world.journalOf(index))),
    ]);
    const places = [...disks.flat(), ...world.queued.flatMap((body) => owedByMessage(body)), ...owedByMarks(marks)];
    const notedBy = (by: OwedBy): number => {
      const own = places.filter((place) => place.by === by);
      return differing.filter((partition) => own.some((place) => names(place, partition))).length;
    };
    return {
      differing,
      silent: unnoted(differing, places),
      tooMuch: [...lostSight(disks), ...tornMarks(marks)],
      notedBy: { log: notedBy('log'), journal: notedBy('journal'), queue: notedBy('queue'), marks: notedBy('marks') },
    };
  } finally {
    world.signalProxies('SIGCONT');
  }
}

/** Of proxies, by their disks, that hold every table for suspect. */
export function lostSight(disks: readonly (readonly OwedPlace[])[]): readonly string[] {
  const isEverything = ({ by, keyspace }: OwedPlace): boolean => by === 'marks' && keyspace === '*';
  return disks.flatMap((places, index) =>
    places.some(isEverything) ? [`proxy ${index} can not tell any more which tables may differ`] : [],
  );
}

/** Of tables that are marked because something could not be read. */
export function tornMarks(marks: readonly SuspectRecord[]): readonly string[] {
  return marks
    .filter(({ code }) => code === 'torn')
    .map(({ keyspace, table, reason }) => `${keyspace}.${table} is marked as a whole: ${reason}`);
}
