/** One proxy with its migration, whose target is behind a relay; and the command, which reads the proxy's configuration. */
import { join } from 'node:path';
import { type Client, types } from 'cassandra-driver';
import { createFileLedgerStore } from '#adapters/ledger-file.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { tableFolder } from '../../../infra/local/cassandra-tools.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { eventually } from '../../support/eventually.ts';
import { FrameRelay } from '../../support/frame-relay.ts';
import { ProxyProcess } from '../../support/proxy-process.ts';
import { connectToProxy, connectToTestCluster, recreateKeyspace } from './clusters.ts';
import { type CommandOutcome, runVerb } from './command.ts';
import { takeSnapshot } from './shared-tools.ts';
import { readTestEnvironment } from './test-environment.ts';

export interface LiveMigrationOptions {
  readonly keyspace: string;
  /** After `CREATE TABLE KEYSPACE.`, on both clusters. */
  readonly tables: readonly string[];
  /** The next one is the admin port. */
  readonly port: number;
  readonly proxy?: object;
}

/** Statements of it are in dual-async when it is open. */
export class LiveMigration {
  readonly keyspace: string;
  readonly origin: Client;
  readonly target: Client;
  readonly relay: FrameRelay;
  readonly proxy: ProxyProcess;
  readonly app: Client;
  readonly ledger: Ledger;

  private constructor(
    keyspace: string,
    clients: { readonly origin: Client; readonly target: Client; readonly app: Client },
    relay: FrameRelay,
    proxy: ProxyProcess,
  ) {
    this.keyspace = keyspace;
    this.origin = clients.origin;
    this.target = clients.target;
    this.app = clients.app;
    this.relay = relay;
    this.proxy = proxy;
    this.ledger = createLedger(createFileLedgerStore(join(proxy.folder, 'ledger')));
  }

  static async open(options: LiveMigrationOptions): Promise<LiveMigration> {
    const { keyspace, tables, port } = options;
    const environment = readTestEnvironment();
    const { username, password } = environment;
    const [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
    for (const client of [origin, target]) {
      await recreateKeyspace(client, keyspace);
      for (const table of tables) await client.execute(`CREATE TABLE ${keyspace}.${table}`);
    }
    const relay = new FrameRelay(environment.target);
    const host = environment.proxyAddress;
    const proxy = new ProxyProcess({
      listen: { host, port },
      admin: { host, port: port + 1 },
      origin: environment.origin,
      target: { host: '127.0.0.1', port: await relay.listen() },
      login: { username, password },
      // Also on a busy machine only what the relay loses is late.
      proxy: { initialPhase: 'origin-only', shadowTimeoutMs: 3000, ...options.proxy },
    });
    await proxy.start();
    await proxy.setPhase('dual-async');
    const queryOptions = { consistency: types.consistencies.localOne, prepare: true };
    const app = await connectToProxy({ host, port }, keyspace, { queryOptions });
    return new LiveMigration(keyspace, { origin, target, app }, relay, proxy);
  }

  async close(): Promise<void> {
    await this.app.shutdown();
    await this.proxy.stop();
    await this.relay.close();
    for (const client of [this.origin, this.target]) {
      await client.execute(`DROP KEYSPACE IF EXISTS ${this.keyspace}`);
      await client.shutdown();
    }
    this.proxy.cleanUp();
  }

  /** Runs a verb with this migration's configuration; that it fails is an outcome. */
  run(...args: readonly string[]): Promise<CommandOutcome> {
    return runVerb(this.proxy.configFile, ...args);
  }

  /** Resolves when no copy is under way. */
  async settled(): Promise<void> {
    await eventually(async () => {
      const { shadowInFlight } = await this.proxy.counters();
      if (shadowInFlight !== 0) throw new Error(`${shadowInFlight} copies are under way`);
    });
  }

  /** Flushes and snapshots the origin, and ships it. Resolves to where it lies. */
  async snapshot(tag: string, table: string): Promise<string> {
    await takeSnapshot(testEnvironment.origin, tag, this.keyspace);
    const place = join(this.proxy.folder, tag);
    const data = join(tableFolder(testEnvironment.origin, this.keyspace, table), '..', '..');
    const shipped = await this.run(
      'snapshot',
      'upload',
      data,
      '--tag',
      tag,
      '--keyspace',
      this.keyspace,
      '--to',
      place,
    );
    if (shipped.code !== 0) throw new Error(`the snapshot was not shipped: ${shipped.stderr}`);
    return place;
  }

  /** `load start --local`, behind all its gates. */
  load(snapshot: string, ...more: readonly string[]): Promise<CommandOutcome> {
    return this.run('load', 'start', '--keyspace', this.keyspace, '--snapshot', snapshot, '--local', ...more);
  }
}
