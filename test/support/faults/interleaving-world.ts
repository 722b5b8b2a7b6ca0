/** What the interleaving bed steps its cases on: both clusters, a proxy whose copies pass a relay, a queue, and commands. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { auth, Client, types } from 'cassandra-driver';
import { stringify } from 'yaml';
import { loadHere } from '../../../cli/load-local.ts';
import { openRuns, type RunContext } from '../../../cli/runs.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { runRingshift } from '../../cli/run-ringshift.ts';
import { CassandraTools } from '../../integration/support/cassandra-tools.ts';
import { connectToTestCluster, recreateKeyspace } from '../../integration/support/clusters.ts';
import { replayHere } from '../../integration/support/replay-here.ts';
import { type HostAndPort, readTestEnvironment } from '../../integration/support/test-environment.ts';
import { FrameRelay } from '../frame-relay.ts';
import { ProxyProcess } from '../proxy-process.ts';
import { TestQueue } from './test-queue.ts';

const PORT = 19_801;
const ADMIN_PORT = 18_801;
/** A copy without an answer counts as failed after this. */
export const SHADOW_TIMEOUT_MS = 1500;

/** How long a replay waits before it looks again: nothing else is under way. */
const REPLAY_SETTLE_MS = 100;

export class InterleavingWorld {
  readonly origin: Client;
  readonly target: Client;
  readonly queue: TestQueue;
  readonly relay: FrameRelay;
  readonly proxy: ProxyProcess;
  /** Connected when there are tables. */
  readonly app: Client;
  readonly #tools: CassandraTools;
  readonly #keyspaces = new Set<string>();

  private constructor(
    clients: Readonly<Record<'origin' | 'target' | 'app', Client>>,
    parts: { tools: CassandraTools; queue: TestQueue; relay: FrameRelay; proxy: ProxyProcess },
  ) {
    this.origin = clients.origin;
    this.target = clients.target;
    this.app = clients.app;
    this.queue = parts.queue;
    this.relay = parts.relay;
    this.proxy = parts.proxy;
    this.#tools = parts.tools;
  }

  /** @param name of the queue */
  static async open(java: string, name: string): Promise<InterleavingWorld> {
    const environment = readTestEnvironment();
    const { username, password, proxyAddress: host } = environment;
    const [origin, target, tools, queue] = await Promise.all([
      connectToTestCluster('origin'),
      connectToTestCluster('target'),
      CassandraTools.start(java, testEnvironment.origin),
      TestQueue.create(name),
    ]);
    const relay = new FrameRelay(environment.target);
    const login = { username, password };
    const proxy = new ProxyProcess({
      listen: { host, port: PORT },
      admin: { host, port: ADMIN_PORT },
      origin: environment.origin,
      target: { host: '127.0.0.1', port: await relay.listen() },
      login,
      proxy: { shadowTimeoutMs: SHADOW_TIMEOUT_MS, lease: { pollMs: 50 } },
      failedWrites: { queueUrl: queue.url },
    });
    const app = new Client({
      contactPoints: [host],
      protocolOptions: { port: PORT },
      localDataCenter: 'dc1',
      authProvider: new auth.PlainTextAuthProvider(username, password),
      socketOptions: { readTimeout: 60_000 },
      queryOptions: { consistency: types.consistencies.localOne, prepare: true },
      policies: { timestampGeneration: null as never },
    });
    const world = new InterleavingWorld({ origin, target, app }, { tools, queue, relay, proxy });
    const cluster = ({ host: address, port }: HostAndPort) => ({ contactPoints: [address], port, auth: login });
    // The same migration without the relay, for loads, replay and validation.
    const config = {
      origin: cluster(environment.origin),
      target: cluster(environment.target),
      ledger: { kind: 'file', path: join(proxy.folder, 'ledger') },
      bulkLoad: { tombstones: 'all' },
      validation: { settleMs: 100, rangesPerTable: 1, originReadMBps: 1000 },
      failedWrites: { queueUrl: queue.url, retryIntervalSecs: 1 },
    };
    writeFileSync(world.#configFile, stringify(config));
    await proxy.start();
    return world;
  }

  async close(): Promise<void> {
    await this.app.shutdown();
    await this.proxy.stop();
    this.proxy.cleanUp();
    await this.relay.close();
    this.#tools.stop();
    for (const client of [this.origin, this.target]) {
      for (const keyspace of this.#keyspaces) await client.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`);
      await client.shutdown();
    }
    await this.queue.remove();
  }

  /** On both clusters, as if new. */
  async create(keyspace: string, definitions: readonly string[]): Promise<void> {
    this.#keyspaces.add(keyspace);
    await Promise.all(
      [this.origin, this.target].map(async (client) => {
        await recreateKeyspace(client, keyspace);
        for (const definition of definitions) await client.execute(definition);
      }),
    );
  }

  /** Without the relay. */
  runs(): Promise<RunContext> {
    return openRuns(this.#configFile);
  }

  get shadowInFlight(): Promise<number> {
    return this.proxy.counters().then((counters) => counters['shadowInFlight'] ?? 0);
  }

  /** Takes the origin's snapshot of a keyspace and ships it. */
  async snapshot(keyspace: string): Promise<void> {
    await this.#tools.nodetool('flush', keyspace);
    await this.#tools.nodetool('snapshot', '-t', keyspace, keyspace);
    const data = join(testEnvironment.origin.folder, 'data');
    const place = ['--tag', keyspace, '--keyspace', keyspace, '--to', this.#placeOf(keyspace)];
    await this.#ringshift('snapshot', 'upload', data, ...place);
  }

  /** Loads tables from that snapshot. */
  async load(runId: string, keyspace: string, tables: readonly string[], more: object): Promise<void> {
    const input = { keyspace, tables, snapshot: this.#placeOf(keyspace), ...more };
    const { summary } = await loadHere(await this.runs(), runId, input, () => undefined);
    if (summary?.status !== 'done') throw new Error(`the load ${runId} failed: ${JSON.stringify(summary)}`);
  }

  /** Applies failed writes as the function does, and what of them comes again. */
  async replay(bodies: readonly string[]): Promise<{ readonly dead: number }> {
    const { ledger } = await this.runs();
    const here = replayHere({ ledger, settleMs: REPLAY_SETTLE_MS });
    try {
      return await here.drain(bodies);
    } finally {
      await here.close();
    }
  }

  async #ringshift(...args: readonly string[]): Promise<void> {
    const { code, stdout, stderr } = await runRingshift([...args, '--config', this.#configFile, '--json']);
    if (code !== 0) throw new Error(`ringshift ${args.join(' ')} ended with ${code}:\n${stderr}${stdout}`);
  }

  get #configFile(): string {
    return join(this.proxy.folder, 'direct.yaml');
  }

  #placeOf(keyspace: string): string {
    return join(this.proxy.folder, 'snapshots', keyspace);
  }
}
