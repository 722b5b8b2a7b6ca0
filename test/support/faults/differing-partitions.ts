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

/** Compares every partition by the given columns of each table. */
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
        .filter((token) => mine.get(token) !== theirs.get(token))
        .map((token) => {
          const text = `${name}: origin ${mine.get(token)}, target ${theirs.get(token)}`;
          return { keyspace, table, token: BigInt(token), text };
        });
    }),
  );
  return found.flat();
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
