/**
 * What a load costs: rows and megabytes per second, CPU of Node and of the server per row, beside cassandra-driver with
 * unlogged batches of 20. One real local node (5.0, all compiler tiers), the product's own plan and ranges.
 * Figures of one run compare with each other; CPU per row also with other runs on the same machine.
 *
 *   npm run bench:load -- [--rounds 3] [--table nb_single_133 …] [--no-driver]
 */
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Client } from 'cassandra-driver';
import pLimit from 'p-limit';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import { readLoadTarget } from '#adapters/cassandra/read-schema.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLogger } from '#adapters/logger.ts';
import { createFileObjectStore } from '#adapters/object-store-file.ts';
import { migrationConfigSchema, type ResolvedCluster } from '#core/config/schema.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { NO_RENAMES } from '#core/model/rename.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { LoadSession } from '#core/ports.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import type { NodeSettings } from '../../infra/local/cassandra-config.ts';
import { startNode, stopNode } from '../../infra/local/cassandra-node.ts';
import { administrator, connectAsAdministrator } from '../../infra/local/cluster-roles.ts';
import { cacheRoot } from '../../infra/local/paths.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { CassandraVersion } from '../../infra/local/versions.ts';
import { type BenchTable, type BenchTableName, prepareBenchData } from './bench-data.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    table: { type: 'string', multiple: true, default: ['nb_single_133', 'nb_wide_133'] },
    driver: { type: 'boolean', default: true },
    keep: { type: 'boolean', default: false },
  },
  allowNegative: true,
});
const ROUNDS = Number(values.rounds);
const RANGES_AT_ONCE = 4;
const RANGE_MB = 8;
const BATCH_ROWS = 20;
const BATCHES_IN_FLIGHT = 64;
const TICKS_PER_SECOND = 100;
const KEYSPACE = 'ks';

const node: NodeSettings = {
  name: 'bench-load',
  version: CassandraVersion.target,
  address: '127.0.0.44',
  port: 9042,
  storagePort: 7000,
  jmxPort: 7144,
  heapMB: 1024,
  folder: join(cacheRoot, 'bench-load'),
  survivesKill: false,
  compilesFully: true,
};

interface Cost {
  readonly seconds: number;
  readonly rows: number;
  /** Of values, keys included. */
  readonly bytes: number;
  readonly nodeMicros: number;
  readonly serverMicros: number;
  readonly peakRssMB: number;
  readonly requests: number;
}

function serverTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

type Work = () => Promise<{ rows: number; bytes: number; requests: number }>;

async function measure(pid: number, work: Work): Promise<Cost> {
  globalThis.gc?.();
  let peakRss = process.memoryUsage.rss();
  const sampler = setInterval(() => {
    peakRss = Math.max(peakRss, process.memoryUsage.rss());
  }, 50);
  const ticks = serverTicks(pid);
  const cpu = process.cpuUsage();
  const start = performance.now();
  const done = await work();
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (performance.now() - start) / 1000;
  clearInterval(sampler);
  return {
    ...done,
    seconds,
    nodeMicros: (user + system) / done.rows,
    serverMicros: ((serverTicks(pid) - ticks) * (1e6 / TICKS_PER_SECOND)) / done.rows,
    peakRssMB: peakRss / 1e6,
  };
}

/** The load as the command line does it, from files of this machine. */
async function ourLoad(table: BenchTable, client: Client, session: LoadSession, folder: string): Promise<Work> {
  const place = basename(dirname(table.dataPaths[0]!));
  const name = place.replace(/-[0-9a-f]{32}$/, '');
  const snapshot = join(folder, table.name);
  const target = join(snapshot, 'n1', KEYSPACE, place);
  mkdirSync(target, { recursive: true });
  for (const file of readdirSync(dirname(table.dataPaths[0]!))) {
    linkSync(join(dirname(table.dataPaths[0]!), file), join(target, file));
  }
  const schema = await readLoadTarget(client, KEYSPACE);
  let run = 0;
  return async () => {
    const objects = createFileObjectStore(join(folder, 'objects'));
    const ports = {
      readTarget: async () => schema,
      objects,
      openSnapshot: (uri: string) => ({ objects: createFileObjectStore(uri), prefix: '' }),
      ledger: createLedger(createFileLedgerStore(join(folder, 'ledger'))),
      clock: { nowMillis: Date.now },
      logger: createLogger('bench', 'error', 2),
    };
    const config = migrationConfigSchema.shape.bulkLoad.parse({
      targetWriteMBps: 10_000,
      rangeMB: RANGE_MB,
      indexes: 'skip',
    });
    const options = {
      ...config,
      memoryBudgetMB: config.memoryBudgetMB / RANGES_AT_ONCE,
      indexList: undefined,
      filterRules: null,
      renames: NO_RENAMES,
      by: 'bench',
    };
    const input = {
      keyspace: KEYSPACE,
      tables: [name],
      snapshot,
      allowEarlySnapshot: true,
      trustCoverage: true,
    };
    const runId = `${table.name}-${++run}`;
    const plan = await planLoad(runId, input, ports, options);
    const items = JSON.parse(new TextDecoder().decode(await objects.get(plan.planKey))) as LoadItem[];
    const limit = pLimit(RANGES_AT_ONCE);
    const loadPorts = { ...ports, target: session, sleep: (ms: number) => sleep(ms) };
    const results = await Promise.all(items.map((item) => limit(() => loadRange({ item, ports: loadPorts }))));
    await ports.ledger.endRun(runId, 'stopped', new Date());
    const sum = (count: string) => results.reduce((total, { counts }) => total + (counts[count] ?? 0), 0);
    return { rows: sum('rows'), bytes: sum('writtenBytes'), requests: sum('requests') };
  };
}

/** Decoded beforehand: nothing but the driver is measured. */
async function driverLoad(table: BenchTable, client: Client, schema: TableSchema): Promise<Work> {
  const sstable = await openSSTable(sstableFilesAt(table.dataPaths[0]!));
  const columns = { static: schema.staticColumns, regular: schema.regularColumns };
  const cursor = openPartitionCursor(sstable, { columns, windowBytes: 1 << 20 });
  const rows: Buffer[][] = [];
  let bytes = 0;
  let key = Buffer.alloc(0);
  for (;;) {
    const event = cursor.next();
    if (event === undefined) {
      if (!(await cursor.fill())) break;
    } else if (event.kind === 'partition') key = Buffer.from(event.key);
    else if (event.kind === 'row') {
      const at = Buffer.alloc(8);
      at.writeBigInt64BE(event.liveness!.timestampMicros);
      const cells = [...event.clustering.values(), ...event.cells.map((cell) => cell.value)];
      rows.push([key, ...cells.map((value) => Buffer.from(value ?? [])), at]);
      bytes += rows.at(-1)!.reduce((sum, value) => sum + value.length, 0);
    }
  }
  const names = [...schema.partitionKey, ...schema.clustering, ...schema.regularColumns].map(({ name }) => name);
  const text =
    `INSERT INTO ${schema.keyspace}.${schema.table} (${names.join(', ')}) ` +
    `VALUES (${names.map(() => '?').join(', ')}) USING TIMESTAMP ?`;
  return async () => {
    let next = 0;
    let requests = 0;
    const worker = async () => {
      while (next < rows.length) {
        const batch = rows.slice(next, next + BATCH_ROWS).map((params) => ({ query: text, params }));
        next += BATCH_ROWS;
        requests++;
        await client.batch(batch, { prepare: true, logged: false });
      }
    };
    await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, worker));
    return { rows: rows.length, bytes, requests };
  };
}

function print(name: string, who: string, cost: Cost): void {
  const cells = [
    name.padEnd(14),
    who.padEnd(10),
    (cost.bytes / cost.seconds / 1e6).toFixed(1).padStart(7),
    Math.round(cost.rows / cost.seconds)
      .toString()
      .padStart(8),
    cost.nodeMicros.toFixed(2).padStart(9),
    cost.serverMicros.toFixed(1).padStart(11),
    cost.peakRssMB.toFixed(0).padStart(8),
    cost.requests.toString().padStart(9),
    (cost.rows / cost.requests).toFixed(1).padStart(9),
    Math.round(cost.bytes / cost.rows)
      .toString()
      .padStart(8),
  ];
  process.stdout.write(`${cells.join(' ')}\n`);
}

/** Whoever uses a whole core and more than the other is what limits. */
function limitOf(cost: Cost): string {
  const nodeCores = (cost.nodeMicros * cost.rows) / 1e6 / cost.seconds;
  const serverCores = (cost.serverMicros * cost.rows) / 1e6 / cost.seconds;
  const who = nodeCores > 0.85 ? 'Node' : 'the target (or the machine, shared)';
  return `${who} limits: Node used ${nodeCores.toFixed(2)} cores, the server ${serverCores.toFixed(2)}`;
}

const best = (costs: readonly Cost[]): Cost => costs.reduce((a, b) => (b.nodeMicros < a.nodeMicros ? b : a));

async function bench(table: BenchTable, pid: number, client: Client, session: LoadSession, folder: string) {
  const name = basename(dirname(table.dataPaths[0]!)).replace(/-[0-9a-f]{32}$/, '');
  const columns = 'city text, email text, amount double, created timestamp, quantity int, note text';
  const keys = table.rowsPerPartition === 1 ? 'id bigint PRIMARY KEY' : 'id bigint, seq int';
  const primary = table.rowsPerPartition === 1 ? '' : ', PRIMARY KEY (id, seq)';
  await client.execute(`CREATE TABLE IF NOT EXISTS ${KEYSPACE}.${name} (${keys}, ${columns}${primary})`);
  const rounds = async (work: Work) => {
    const costs: Cost[] = [];
    for (let round = 0; round <= ROUNDS; round++) {
      await client.execute(`TRUNCATE ${KEYSPACE}.${name}`);
      costs.push(await measure(pid, work));
    }
    // The first one warms both sides up.
    return best(costs.slice(1));
  };
  const ours = await rounds(await ourLoad(table, client, session, folder));
  print(table.name, 'ringshift', ours);
  process.stdout.write(`  ${limitOf(ours)}\n`);
  // After all of ours: the driver's rows stay in memory.
  return async () => {
    const schema = (await readLoadTarget(client, KEYSPACE)).tables.find((each) => each.table === name)!;
    const theirs = await rounds(await driverLoad(table, client, schema));
    print(table.name, 'driver', theirs);
    const ofNode = (ours.nodeMicros / theirs.nodeMicros).toFixed(2);
    const ofServer = (ours.serverMicros / theirs.serverMicros).toFixed(2);
    process.stdout.write(`  ringshift / driver, which neither reads nor decodes: Node ${ofNode}, server ${ofServer}\n`);
  };
}

const report = (line: string) => process.stderr.write(`${line}\n`);
const { java } = await prepare(report);
const tables = await prepareBenchData(report);
const folder = mkdtempSync(join(tmpdir(), 'ringshift-bench-'));
const { pid } = await startNode(node, { java, keepData: false });
try {
  const client = await connectAsAdministrator(node);
  await client.execute(
    `CREATE KEYSPACE IF NOT EXISTS ${KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
  );
  const parsed = migrationConfigSchema.shape.target.parse({
    contactPoints: [node.address],
    port: node.port,
    localDatacenter: 'dc1',
  });
  const cluster: ResolvedCluster = { ...parsed, name: 'target', credentials: administrator };
  const session = await createCqlSession(cluster);
  process.stdout.write(
    'table          loader        MB/s   rows/s   Node µs   server µs  RSS MB  requests rows/req   B/row\n',
  );
  const compare: (() => Promise<void>)[] = [];
  for (const name of values.table) {
    compare.push(await bench(tables[name as BenchTableName], pid, client, session, folder));
  }
  if (values.driver) for (const each of compare) await each();
  await session.close();
  await client.shutdown();
} finally {
  if (!values.keep) await stopNode(node);
  rmSync(folder, { recursive: true, force: true });
}
