import type { MigrationConfig, ResolvedCluster } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import type { ClustersSeen, SeenTable } from '#core/ledger/gate-facts.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { compareSchemas } from '#core/model/compare-schema.ts';
import { type ColumnRow, type TableRow, type TypeRow, toTableSchema } from '#core/model/schema-rows.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { connectDriver, type DriverClient } from './driver-client.ts';

/** Of the database itself and of the tools of vendors, which no migration moves. */
const NOT_MOVED = /^(system($|_)|dse_|solr_admin$|OpsCenter$|HiveMetaStore$|data_endpoint_auth$|datastax_sla$)/;

type Row<T> = T & { readonly keyspace_name: string };

interface SeenCluster {
  readonly tables: readonly TableSchema[];
  readonly clocks: ClustersSeen['clocks'];
}

/**
 * Both clusters as the gates of a change of phase see them: schemas, and the clock of every node of the local data centre.
 * A cluster that does not answer is said to be away.
 * All keyspaces but those that no migration moves, unless `gates.keyspaces` names some.
 */
export async function lookAtClusters(
  clusters: Readonly<Record<ClusterName, ResolvedCluster>>,
  { gates, ledger }: Pick<MigrationConfig, 'gates' | 'ledger'>,
): Promise<ClustersSeen> {
  const own = ledger.kind === 'cassandra' ? ledger.keyspace : undefined;
  const isWanted = (keyspace: string): boolean =>
    gates.keyspaces?.includes(keyspace) ?? (keyspace !== own && !NOT_MOVED.test(keyspace));
  const names = ['origin', 'target'] as const;
  const [origin, target] = await Promise.all(names.map((name) => lookAt(name, clusters[name], isWanted)));
  const away = [origin, target].flatMap((seen, index) =>
    seen instanceof Error ? [{ cluster: names[index]!, error: describeError(seen) }] : [],
  );
  const isSeen = (seen: SeenCluster | Error | undefined): seen is SeenCluster => !(seen instanceof Error);
  return {
    away,
    isEveryKeyspace: gates.keyspaces === null,
    tables: isSeen(origin) ? origin!.tables.map(({ keyspace, table }) => ({ keyspace, table })) : [],
    clocks: [origin, target].filter(isSeen).flatMap((seen) => seen.clocks),
    differences: isSeen(origin) && isSeen(target) ? differencesOf(origin!.tables, target!.tables) : [],
  };
}

async function lookAt(
  name: ClusterName,
  cluster: ResolvedCluster,
  isWanted: (keyspace: string) => boolean,
): Promise<SeenCluster | Error> {
  let client: DriverClient | undefined;
  try {
    client = await connectDriver(cluster);
    const [tables, clocks] = await Promise.all([readTables(client, isWanted), readClocks(name, client, cluster)]);
    return { tables, clocks };
  } catch (error) {
    return error instanceof Error ? error : new Error(describeError(error));
  } finally {
    await client?.shutdown().catch(() => undefined);
  }
}

async function readTables(client: DriverClient, isWanted: (keyspace: string) => boolean): Promise<TableSchema[]> {
  const rowsOf = async <T>(table: string): Promise<Map<string, T[]>> => {
    const { rows } = await client.execute(`SELECT * FROM system_schema.${table}`, [], {
      autoPage: true,
      prepare: false,
    });
    const byKeyspace = new Map<string, T[]>();
    for (const row of rows as unknown as Row<T>[]) {
      if (!isWanted(row.keyspace_name)) continue;
      const known = byKeyspace.get(row.keyspace_name);
      if (known) known.push(row);
      else byKeyspace.set(row.keyspace_name, [row]);
    }
    return byKeyspace;
  };
  const [tables, columns, types] = await Promise.all([
    rowsOf<TableRow>('tables'),
    rowsOf<ColumnRow>('columns'),
    rowsOf<TypeRow>('types'),
  ]);
  return [...tables].flatMap(([keyspace, rows]) =>
    rows.map((row) => toTableSchema(keyspace, row, columns.get(keyspace) ?? [], types.get(keyspace) ?? [], [])),
  );
}

async function readClocks(
  cluster: ClusterName,
  client: DriverClient,
  { localDatacenter }: ResolvedCluster,
): Promise<ClustersSeen['clocks']> {
  const hosts = client.hosts.values().filter(({ datacenter }) => datacenter === localDatacenter);
  return Promise.all(
    hosts.map(async (host) => {
      const options = { host, prepare: false };
      const text = 'SELECT toTimestamp(now()) AS clock FROM system.local';
      try {
        // The first one may open the connection.
        await client.execute(text, [], options);
        const before = Date.now();
        const { rows } = await client.execute(text, [], options);
        const clock = (rows[0]!['clock'] as Date).getTime();
        return { cluster, node: host.address, skewMs: leastSkew(clock, before, Date.now()) };
      } catch {
        return { cluster, node: host.address, skewMs: null };
      }
    }),
  );
}

/** By how much a clock that was read within this time differs at least: a slow answer is no skew. Milliseconds. */
function leastSkew(clock: number, before: number, after: number): number {
  if (clock < before) return clock - before;
  return Math.max(0, clock - after);
}

/** What contradicts, and what one of them lacks. */
function differencesOf(origin: readonly TableSchema[], target: readonly TableSchema[]): ClustersSeen['differences'] {
  const keyspaces = new Set(origin.map(({ keyspace }) => keyspace));
  const found: ClustersSeen['differences'][number][] = [];
  for (const keyspace of keyspaces) {
    const isHere = (one: SeenTable): boolean => one.keyspace === keyspace;
    const [mine, theirs] = [origin.filter(isHere), target.filter(isHere)];
    for (const { table, message, severity, lacking } of compareSchemas(mine, theirs)) {
      if (severity === 'error' || lacking !== undefined) {
        found.push({ keyspace, table, message, lacking: lacking ?? null });
      }
    }
    const known = new Set(mine.map(({ table }) => table));
    for (const { table } of theirs) {
      if (!known.has(table)) found.push({ keyspace, table, message: 'exists on the target only', lacking: 'origin' });
    }
  }
  return found;
}
