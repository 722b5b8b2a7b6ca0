/** Compares two clusters by a plain driver, and what differs with what somebody has noted. */
import type { Client } from 'cassandra-driver';
import { rangesOf } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import type { OwedPlace } from './owed-places.ts';

/** A partition that the clusters do not agree on. */
export interface DifferingPartition {
  readonly keyspace: string;
  readonly table: string;
  readonly token: bigint;
  readonly text: string;
}

export interface Clusters {
  readonly origin: Client;
  readonly target: Client;
}

/**
 * Compares every partition by the given columns of each table. One that is called `life` is how long the row lives on from
 * its reading, in seconds: rows that end together are the same.
 */
export async function differingPartitions(
  { origin, target }: Clusters,
  keyspaces: readonly string[],
  columns: Readonly<Record<string, string>>,
): Promise<DifferingPartition[]> {
  const tables = keyspaces.flatMap((keyspace) =>
    Object.entries(columns).map(([table, what]) => ({ keyspace, table, what })),
  );
  const found = await Promise.all(
    tables.map(async ({ keyspace, table, what }) => {
      const name = `${keyspace}.${table}`;
      const [mine, theirs] = await Promise.all([partitionsOf(origin, name, what), partitionsOf(target, name, what)]);
      const tokens = [...new Set([...mine.keys(), ...theirs.keys()])];
      return tokens
        .filter((token) => !isSame(mine.get(token), theirs.get(token)))
        .map((token) => {
          const text = `${name}: origin ${describe(mine.get(token))}, target ${describe(theirs.get(token))}`;
          return { keyspace, table, token: BigInt(token), text };
        });
    }),
  );
  return found.flat();
}

interface ReadPartition {
  readonly values: string;
  /** When it ends: not before the first, not after the second. Seconds since the epoch; undefined: never. */
  readonly ends: readonly [number, number] | undefined;
}

/** Below protocol v5 a copy may be late by almost two before it is marked, and servers count whole ones. */
const END_TOLERANCE_SECONDS = 3;

function isSame(one: ReadPartition | undefined, other: ReadPartition | undefined): boolean {
  if (one?.values !== other?.values) return false;
  if (one?.ends === undefined || other?.ends === undefined) return one?.ends === other?.ends;
  const gap = Math.max(one.ends[0] - other.ends[1], other.ends[0] - one.ends[1]);
  return gap <= END_TOLERANCE_SECONDS;
}

function describe(partition: ReadPartition | undefined): string {
  if (partition?.ends === undefined) return String(partition?.values);
  return `${partition.values} until ${new Date(partition.ends[0] * 1000).toISOString()}`;
}

async function partitionsOf(client: Client, table: string, what: string): Promise<Map<string, ReadPartition>> {
  const query = `SELECT token(id) AS place, id, ${what} FROM ${table}`;
  const before = Date.now() / 1000;
  const { rows } = await client.execute(query, [], { prepare: true, fetchSize: 10_000 });
  const after = Date.now() / 1000;
  return new Map(
    rows.map((row) => {
      const { place, life, ...others } = row as unknown as Record<string, unknown>;
      const values = Object.values(others).map((value) => (value === null ? null : String(value)));
      const ends: ReadPartition['ends'] = typeof life === 'number' ? [before + life, after + life + 1] : undefined;
      return [String(place), { values: JSON.stringify(values), ends }];
    }),
  );
}

/** Those that nobody has noted: they would never be looked at again. */
export function unnoted(
  differing: readonly DifferingPartition[],
  places: readonly OwedPlace[],
): readonly DifferingPartition[] {
  return differing.filter((partition) => !places.some((place) => names(place, partition)));
}

export function names(place: Pick<OwedPlace, 'keyspace' | 'table' | 'ranges'>, partition: DifferingPartition): boolean {
  const { keyspace, table, token } = partition;
  return (
    (place.keyspace === keyspace || place.keyspace === '*') &&
    (place.table === table || place.table === '*') &&
    place.ranges.some(({ start, end }) => token > start && token <= end)
  );
}

/** How many partitions or parts of the ring marks name, one for what is marked as a whole. */
export function countPlaces(marks: readonly SuspectRecord[]): number {
  return marks.reduce((sum, mark) => sum + Math.max(1, rangesOf(mark).length), 0);
}
