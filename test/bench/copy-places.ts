/**
 * How fast places of the ring are brought together of which nothing is known but their tokens, as after a crash: seconds,
 * places per second, requests and CPU per place. Two real local nodes (4.1, 5.0). A third of the partitions is missing on
 * the target, a third has rows that the origin has deleted, a third is the same.
 *
 *   npm run bench:copy -- [--places 1000] [--rows 2] [--settle 10000] [--rate 1000000]
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Client } from 'cassandra-driver';
import pLimit from 'p-limit';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { replayOptions } from '#adapters/replay-batch.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { encodeInt } from '#core/cql/value-codec.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { replayMessages } from '#core/jobs/replay.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { encodeMessage, MAX_PLACES } from '#core/model/message.ts';
import type { CqlSession } from '#core/ports.ts';
import { tokenOf } from '#core/token/token.ts';
import type { NodeSettings } from '../../infra/local/cassandra-config.ts';
import { startNode, stopNode } from '../../infra/local/cassandra-node.ts';
import { administrator, connectAsAdministrator } from '../../infra/local/cluster-roles.ts';
import { cacheRoot } from '../../infra/local/paths.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { CassandraVersion } from '../../infra/local/versions.ts';
import { createMemoryLedgerStore } from '../support/memory-ledger-store.ts';
import { CLOSED_BREAKER, delivered } from '../support/messages.ts';

const { values } = parseArgs({
  options: {
    places: { type: 'string', default: '1000' },
    rows: { type: 'string', default: '2' },
    settle: { type: 'string', default: '10000' },
    rate: { type: 'string', default: '1000000' },
    keep: { type: 'boolean', default: false },
  },
});
const PLACES = Number(values.places);
const ROWS = Number(values.rows);
const KEYSPACE = 'bench_copy';
const TABLE = `${KEYSPACE}.items`;
const longAgo = (Date.now() - 3_600_000) * 1000;

const nodeOf = (name: ClusterName, last: number): NodeSettings => ({
  name: `bench-copy-${name}`,
  version: CassandraVersion[name],
  address: `127.0.0.${last}`,
  port: 9042,
  storagePort: 7000,
  jmxPort: 7100 + last,
  heapMB: 512,
  folder: join(cacheRoot, 'bench-copy', name),
  survivesKill: false,
  compilesFully: true,
});
const nodes = { origin: nodeOf('origin', 45), target: nodeOf('target', 46) };

/** Counts what is asked of a cluster. */
function counting(session: CqlSession, counts: { requests: number }): CqlSession {
  return {
    protocolVersion: session.protocolVersion,
    query: (...request) => {
      counts.requests++;
      return session.query(...request);
    },
    prepare: (text) => session.prepare(text),
    execute: (...request) => {
      counts.requests++;
      return session.execute(...request);
    },
    batch: (...request) => {
      counts.requests++;
      return session.batch(...request);
    },
    close: () => session.close(),
  };
}

/** Partitions from `first` on, as a crash may leave them. */
async function fill(clients: Readonly<Record<ClusterName, Client>>, first: number): Promise<void> {
  const insert = `INSERT INTO ${TABLE} (id, c, a, b, s) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?`;
  const run = (client: Client, text: string, parameters: readonly unknown[]) =>
    client.execute(text, [...parameters], { prepare: true });
  await pLimit(8).map(
    Array.from({ length: PLACES }, (_, index) => first + index),
    async (id) => {
      for (let c = 0; c < ROWS; c++) {
        const row = [id, c, `a${id}`, id, `s${id}`, longAgo];
        await run(clients.origin, insert, row);
        if (id % 3 !== 0) await run(clients.target, insert, row);
      }
      if (id % 3 === 1) {
        await run(clients.origin, `DELETE FROM ${TABLE} USING TIMESTAMP ? WHERE id = ? AND c = 0`, [longAgo + 5, id]);
      }
    },
  );
}

function messagesOf(first: number): string[] {
  const tokens = Array.from({ length: PLACES }, (_, index) => tokenOf(encodeInt(first + index)));
  return Array.from({ length: Math.ceil(PLACES / MAX_PLACES) }, (_, part) =>
    encodeMessage({
      kind: 'copy',
      id: `copy-${first}-${part}`,
      keyspace: KEYSPACE,
      table: 'items',
      tokens: tokens.slice(part * MAX_PLACES, (part + 1) * MAX_PLACES),
      lacking: 'target',
      // Without the hold of 15 s, which is the same for any number of places.
      code: 'unknown-outcome',
      attempts: 1,
      enqueuedAt: new Date().toISOString(),
      instance: 'bench',
    }),
  );
}

const { java } = await prepare((line) => process.stderr.write(`${line}\n`));
try {
  for (const node of Object.values(nodes)) await startNode(node, { java, keepData: false });
  const clients = {
    origin: await connectAsAdministrator(nodes.origin),
    target: await connectAsAdministrator(nodes.target),
  };
  for (const client of Object.values(clients)) {
    await client.execute(
      `CREATE KEYSPACE ${KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
    );
    await client.execute(`CREATE TABLE ${TABLE} (id int, c int, a text, b bigint, s text static, PRIMARY KEY (id, c))`);
  }
  const config = migrationConfigSchema.parse({
    origin: { contactPoints: [nodes.origin.address], localDatacenter: 'dc1' },
    target: { contactPoints: [nodes.target.address], localDatacenter: 'dc1' },
    validation: { settleMs: Number(values.settle) },
  });
  const counts = { requests: 0 };
  const open = async (name: ClusterName) => {
    const { auth: _, ...rest } = config[name];
    return counting(await createCqlSession({ ...rest, name, credentials: administrator }), counts);
  };
  const sessions = { origin: await open('origin'), target: await open('target') };
  process.stdout.write('  places   seconds  places/s  requests/place  CPU ms/place\n');
  // The first one warms all sides up.
  for (let round = 0; round < 3; round++) {
    const first = round * 1_000_000;
    await fill(clients, first);
    counts.requests = 0;
    const [startedAt, cpu] = [performance.now(), process.cpuUsage()];
    let waiting = messagesOf(first);
    let copied = 0;
    while (waiting.length > 0) {
      const outcomes = await replayMessages(
        waiting.map((body, index) => delivered(body, `m${index}`)),
        {
          openSession: async (name) => sessions[name],
          breaker: CLOSED_BREAKER,
          ledger: createLedger(createMemoryLedgerStore()),
          clock: { nowMillis: Date.now },
          logger: createLogger('bench', 'warn', 2),
          sleep: (ms, signal) => sleep(ms, undefined, signal ? { signal } : {}),
        },
        { ...replayOptions(config, createFilter(NO_FILTER_RULES)), writesPerSecond: Number(values.rate) },
      );
      for (const outcome of outcomes) copied += outcome.counts.copied;
      waiting = outcomes.flatMap(({ resend }) => resend.map(({ body }) => body));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    process.stdout.write(
      `${String(copied).padStart(8)} ${seconds.toFixed(1).padStart(9)} ${(copied / seconds).toFixed(0).padStart(9)} ` +
        `${(counts.requests / PLACES).toFixed(1).padStart(15)} ${((user + system) / 1000 / PLACES).toFixed(2).padStart(13)}\n`,
    );
  }
  for (const session of Object.values(sessions)) await session.close();
  for (const client of Object.values(clients)) await client.shutdown();
} finally {
  if (!values.keep) for (const node of Object.values(nodes)) await stopNode(node);
}
