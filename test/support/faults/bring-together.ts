/** After the faults: what is owed is applied, what is marked is looked at, and nothing else may differ. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { rangesOf } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { openRuns } from '../../../cli/runs.ts';
import { runRingshift } from '../../cli/run-ringshift.ts';
import type { ProxyProcess } from '../proxy-process.ts';
import type { FaultWorld } from './fault-world.ts';

/** Of the tables that the oracle writes: what is compared. */
const COLUMNS = { plain: 'v, n, writetime(v), writetime(n)', lists: 'l', counts: 'c' };
const DRAIN_MS = 600_000;
const POLL_MS = 500;
/** How often in a row the queue must be empty: its counts are approximate. */
const EMPTY_LOOKS = 3;
/** How often the replay is looked after: a schedule allows a minute at the least. */
const TEND_EVERY_LOOKS = 10;

interface ProxyStatus {
  readonly failedWrites: { readonly journalMessages: number; readonly suspectMarksWaiting: number };
  readonly counters: Readonly<Record<string, number>>;
}

/** Resolves when nothing is owed any more: no proxy has anything, and the queue has delivered everything. */
export async function drain(world: FaultWorld): Promise<void> {
  const deadline = Date.now() + DRAIN_MS;
  let owed: string[] = [];
  for (let look = 0, empty = 0; empty < EMPTY_LOOKS; look++) {
    if (Date.now() > deadline)
      throw new Error(`after ${DRAIN_MS / 1000} s something is still owed: ${owed.join(', ')}`);
    if (look % TEND_EVERY_LOOKS === 0) await world.tendReplay();
    owed = (await Promise.all(world.proxies.map(owedBy))).flat();
    const { waiting } = await world.queue.depth();
    if (waiting > 0) owed.push(`${waiting} messages in the queue`);
    empty = owed.length === 0 ? empty + 1 : 0;
    await sleep(POLL_MS);
  }
}

async function owedBy(proxy: ProxyProcess, index: number): Promise<string[]> {
  const { failedWrites, counters } = await proxy.get<ProxyStatus>('/status');
  const { journalMessages, suspectMarksWaiting } = failedWrites;
  const all = { journalMessages, suspectMarksWaiting, shadowInFlight: counters['shadowInFlight'] ?? 0 };
  return Object.entries(all).flatMap(([name, count]) => (count > 0 ? [`${name} ${count} of proxy ${index}`] : []));
}

/** A partition that the clusters do not agree on. */
export interface DifferingPartition {
  readonly table: string;
  readonly token: bigint;
  readonly text: string;
}

/** Compares every partition by values and write times. */
export async function differingPartitions(
  world: Pick<FaultWorld, 'origin' | 'target'>,
  keyspace: string,
  columns: Readonly<Record<string, string>> = COLUMNS,
): Promise<DifferingPartition[]> {
  const found: DifferingPartition[] = [];
  for (const [table, what] of Object.entries(columns)) {
    const [mine, theirs] = [
      await partitionsOf(world.origin, `${keyspace}.${table}`, what),
      await partitionsOf(world.target, `${keyspace}.${table}`, what),
    ];
    for (const token of new Set([...mine.keys(), ...theirs.keys()])) {
      if (mine.get(token) === theirs.get(token)) continue;
      const text = `${table}: origin ${mine.get(token)}, target ${theirs.get(token)}`;
      found.push({ table, token: BigInt(token), text });
    }
  }
  return found;
}

async function partitionsOf(client: Client, table: string, what: string): Promise<Map<string, string>> {
  const query = `SELECT token(id) AS place, id, ${what} FROM ${table}`;
  const { rows } = await client.execute(query, [], { prepare: true, fetchSize: 10_000 });
  return new Map(
    rows.map((row) => [
      String(row['place']),
      JSON.stringify(row.values().map((value: unknown) => (value === null ? null : String(value)))),
    ]),
  );
}

export async function readMarks(configFile: string, of: string): Promise<readonly SuspectRecord[]> {
  const { ledger } = await openRuns(configFile);
  return (await ledger.listSuspects()).filter(({ keyspace }) => keyspace === of);
}

/** Those that no mark names: nobody would ever look at them again. */
export function unmarked(
  differing: readonly DifferingPartition[],
  marks: readonly SuspectRecord[],
): readonly DifferingPartition[] {
  return differing.filter(
    ({ table, token }) =>
      !marks.some(
        (mark) =>
          (mark.table === table || mark.table === '*') &&
          rangesOf(mark).some(({ start, end }) => token > start && token <= end),
      ),
  );
}

/** How many partitions or parts of the ring marks name, one for what is marked as a whole. */
export function countPlaces(marks: readonly SuspectRecord[]): number {
  return marks.reduce((sum, mark) => sum + Math.max(1, rangesOf(mark).length), 0);
}

/** What an operator does when all is quiet: marks are compared and repaired, counters brought together. Resolves to what was said. */
export async function reconcileMarks(world: FaultWorld, keyspace: string): Promise<string> {
  const verbs = [
    ['validate', 'start', '--local', '--suspects', '--reconcile', '--keyspace', keyspace],
    ['reconcile', '--counters', '--quiesced', '--keyspace', keyspace],
  ];
  const said: string[] = [];
  for (const verb of verbs) {
    const { code, stdout, stderr } = await runRingshift([...verb, '--config', world.stacks.configFile, '--json']);
    said.push(`ringshift ${verb.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  }
  return said.join('\n');
}
