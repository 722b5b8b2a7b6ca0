/**
 * Steps many cases together, slot by slot: a live operation of every case whose slot is live, one snapshot of all tables
 * whose slot takes it, a load of all whose slot loads. Copies to the target are applied at once, held to the end or lost.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { auth, Client, types } from 'cassandra-driver';
import { stringify } from 'yaml';
import { loadHere } from '../../../cli/load-local.ts';
import { openRuns } from '../../../cli/runs.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { runRingshift } from '../../cli/run-ringshift.ts';
import { CassandraTools } from '../../integration/support/cassandra-tools.ts';
import { connectToTestCluster, recreateKeyspace } from '../../integration/support/clusters.ts';
import { type HostAndPort, readTestEnvironment } from '../../integration/support/test-environment.ts';
import { type Fate, FrameRelay } from '../frame-relay.ts';
import { ProxyProcess } from '../proxy-process.ts';
import { type InterleavedCase, type InterleavedTable, operations } from './interleaving-cases.ts';
import { differingRows } from './same-partitions.ts';
import { TestQueue } from './test-queue.ts';
import { until } from './until.ts';

const PORT = 19801;
const ADMIN_PORT = 18801;
const LANES = 96;
/** As a case's key stands among the values of a request. */
const PK = /[osl]{4,}\/[a-zA-Z,]+(?:\/\d+)?/;
const COLUMNS = `pk text, ck int, s text static, v text, w int, tags set<text>, attrs map<text, int>, l list<int>,
  PRIMARY KEY (pk, ck)`;

/** What became of a run. */
export interface InterleavingResult {
  readonly cases: number;
  readonly statements: number;
  /** Copies that were held to the end, or lost, with the request or with its reply. */
  readonly withheld: number;
  readonly loads: number;
  readonly replayed: number;
  /** One text for each row that differs, with the name of its case. */
  readonly differences: readonly string[];
}

interface PlacedTable extends InterleavedTable {
  /** Tables whose snapshot is taken in the same slot share a keyspace, so that one snapshot takes them all. */
  readonly keyspace: string;
  readonly name: string;
}

export class InterleavingBed {
  readonly #seed: number;
  readonly #keyspaces = new Set<string>();
  /** Key of a case → how many of its operations have begun. */
  readonly #begun = new Map<string, number>();
  #origin!: Client;
  #target!: Client;
  #app!: Client;
  #tools!: CassandraTools;
  #relay!: FrameRelay;
  #queue!: TestQueue;
  #proxy!: ProxyProcess;
  #statements = 0;
  #withheld = 0;
  #loads = 0;
  /** Told each slot of each table; for a case that is stepped alone. */
  onSlot: ((slot: number, rows: Readonly<Record<'origin' | 'target', readonly string[]>>) => void) | undefined;

  constructor(seed: number) {
    this.#seed = seed;
  }

  async start(java: string): Promise<void> {
    const environment = readTestEnvironment();
    const { username, password, proxyAddress: host } = environment;
    [this.#origin, this.#target, this.#tools, this.#queue] = await Promise.all([
      connectToTestCluster('origin'),
      connectToTestCluster('target'),
      CassandraTools.start(java, testEnvironment.origin),
      TestQueue.create(`interleavings-${process.pid}-${this.#seed}`),
    ]);
    this.#relay = new FrameRelay(environment.target);
    const login = { username, password };
    this.#proxy = new ProxyProcess({
      listen: { host, port: PORT },
      admin: { host, port: ADMIN_PORT },
      origin: environment.origin,
      target: { host: '127.0.0.1', port: await this.#relay.listen() },
      login,
      proxy: { shadowTimeoutMs: 1500, lease: { pollMs: 50 } },
      failedWrites: { queueUrl: this.#queue.url },
    });
    const cluster = ({ host: address, port }: HostAndPort) => ({ contactPoints: [address], port, auth: login });
    // The same migration without the relay, for loads, replay and validation.
    const config = {
      origin: cluster(environment.origin),
      target: cluster(environment.target),
      ledger: { kind: 'file', path: join(this.#proxy.folder, 'ledger') },
      bulkLoad: { tombstones: 'all' },
      validation: { settleMs: 100, rangesPerTable: 1, originReadMBps: 1000 },
      failedWrites: { queueUrl: this.#queue.url, retryIntervalSecs: 1 },
    };
    writeFileSync(this.#configFile, stringify(config));
    await this.#proxy.start();
    this.#app = new Client({
      contactPoints: [host],
      protocolOptions: { port: PORT },
      localDataCenter: 'dc1',
      authProvider: new auth.PlainTextAuthProvider(username, password),
      socketOptions: { readTimeout: 60_000 },
      queryOptions: { consistency: types.consistencies.localOne, prepare: true },
      policies: { timestampGeneration: null as never },
    });
  }

  /** Steps all cases and brings both clusters together as a migration does. */
  async run(tables: readonly InterleavedTable[]): Promise<InterleavingResult> {
    const placed = tables.map((table) => {
      const keyspace = `interleaved_${table.order.indexOf('s') + 1}`;
      return { ...table, keyspace, name: `${keyspace}.c_${table.order}` };
    });
    await this.#createTables(placed);
    await this.#proxy.setPhase('dual-async');
    await this.#app.connect();
    this.#relay.fateOf = (frame) => this.#fateOf(frame);
    const slots = Math.max(...placed.map(({ order }) => order.length));
    for (let slot = 0; slot < slots; slot++) {
      const inSlot = (kind: string) => placed.filter(({ order }) => order[slot] === kind);
      await Promise.all([this.#operate(inSlot('o'), slot), this.#snapshot(inSlot('s')), this.#load(inSlot('l'), slot)]);
      await this.#copied();
      await this.#tell(placed, slot);
    }
    const replayed = await this.#settle();
    const differences: string[] = [];
    for (const table of placed) {
      differences.push(...(await differingRows(this.#origin, this.#target, table.name)).map((row) => `${row}`));
    }
    differences.push(...(await this.#validate()));
    const cases = placed.reduce((sum, table) => sum + table.cases.length, 0);
    const counts = { statements: this.#statements, withheld: this.#withheld, loads: this.#loads };
    return { cases, ...counts, replayed, differences };
  }

  async stop(): Promise<void> {
    await this.#app?.shutdown();
    await this.#proxy?.stop();
    this.#proxy?.cleanUp();
    await this.#relay?.close();
    this.#tools?.stop();
    for (const client of [this.#origin, this.#target]) {
      for (const keyspace of this.#keyspaces) await client?.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`);
      await client?.shutdown();
    }
    await this.#queue?.remove();
  }

  get #configFile(): string {
    return join(this.#proxy.folder, 'direct.yaml');
  }

  /** The tables on both clusters; on the origin every case has a row of before the dual writes. */
  async #createTables(tables: readonly PlacedTable[]): Promise<void> {
    for (const { keyspace } of tables) this.#keyspaces.add(keyspace);
    await Promise.all(
      [this.#origin, this.#target].map(async (client) => {
        for (const keyspace of this.#keyspaces) await recreateKeyspace(client, keyspace);
        for (const { name } of tables) await client.execute(`CREATE TABLE ${name} (${COLUMNS})`);
      }),
    );
    const insert = (name: string) =>
      `INSERT INTO ${name} (pk, ck, s, v, w, tags, attrs, l) VALUES (?, 1, 'before', 'before', 0, {'before'}, {'before': 0}, [0])`;
    const all = tables.flatMap(({ name, cases }) => cases.map(({ pk }) => ({ name, pk })));
    await inLanes(all, ({ name, pk }) => this.#origin.execute(insert(name), [pk], { prepare: true }));
  }

  async #operate(tables: readonly PlacedTable[], slot: number): Promise<void> {
    const all = tables.flatMap((table) => table.cases.map((each) => ({ table, each })));
    await inLanes(all, async ({ table, each }) => {
      const n = [...table.order.slice(0, slot)].filter((kind) => kind === 'o').length;
      this.#begun.set(each.pk, n + 1);
      this.#statements++;
      await this.#execute(table.name, each, n);
    });
  }

  async #execute(name: string, { pk, operations: kinds }: InterleavedCase, n: number): Promise<void> {
    const statements = operations[kinds[n]!]!(name, pk, n + 1);
    const [only, ...others] = statements;
    if (others.length === 0) await this.#app.execute(only!.text, [...only!.values]);
    else await this.#app.batch(statements.map(({ text, values }) => ({ query: text, params: [...values] })));
  }

  async #snapshot(tables: readonly PlacedTable[]): Promise<void> {
    const keyspace = tables[0]?.keyspace;
    if (keyspace === undefined) return;
    await this.#tools.nodetool('snapshot', '-t', keyspace, keyspace);
    const data = join(testEnvironment.origin.folder, 'data');
    await this.#ringshift(
      0,
      'snapshot',
      'upload',
      data,
      '--tag',
      keyspace,
      '--keyspace',
      keyspace,
      '--to',
      this.#place(keyspace),
    );
  }

  async #load(tables: readonly PlacedTable[], slot: number): Promise<void> {
    const context = await openRuns(this.#configFile);
    for (const keyspace of new Set(tables.map((table) => table.keyspace))) {
      const names = tables.filter((table) => table.keyspace === keyspace).map(({ order }) => `c_${order}`);
      const input = { keyspace, tables: names, snapshot: this.#place(keyspace) };
      const { summary } = await loadHere(context, `${keyspace}-in-slot-${slot + 1}`, input, () => undefined);
      if (summary?.status !== 'done') throw new Error(`the load of ${keyspace} failed: ${JSON.stringify(summary)}`);
      this.#loads++;
    }
  }

  #place(keyspace: string): string {
    return join(this.#proxy.folder, 'snapshots', keyspace);
  }

  /** What becomes of a copy is the same in every run of this seed. */
  #fateOf(frame: Buffer): Fate {
    const pk = PK.exec(frame.toString('latin1'))?.[0];
    if (pk === undefined) return {};
    const begun = this.#begun.get(pk) ?? 0;
    const [drawn = 0] = createHash('md5').update(`${this.#seed} ${pk} ${begun}`).digest();
    // The replay of a list waits and looks again, so fewer of them are withheld.
    const kind = pk.split('/')[1]!.split(',')[begun - 1];
    if (drawn >= (kind === 'list' ? 4 : 12)) return {};
    this.#withheld++;
    // A server counts a TTL from when the request arrives: one that is held lives longer, whatever is done later.
    if (drawn % 2 === 0) return kind === 'ttl' ? { lose: 'request' } : { hold: true };
    return { lose: drawn % 4 === 1 ? 'request' : 'reply' };
  }

  /** Resolves when the copies that nobody withholds have arrived. */
  async #copied(): Promise<void> {
    await until('the copies arrive', async () => (await this.#shadowInFlight()) <= this.#withheld);
  }

  /** Failed copies through the queue, twice and in reverse; what was held arrives in between. Resolves to how many. */
  async #settle(): Promise<number> {
    await until('the failed copies are in the queue', async () => {
      const { failedWrites } = await this.#proxy.get<{ failedWrites: { journalMessages: number } }>('/status');
      return (await this.#shadowInFlight()) === 0 && failedWrites.journalMessages === 0;
    });
    const backlog = (await this.#queue.takeAll()).reverse();
    const release = this.#seed % 3;
    for (const pass of [0, 1]) {
      if (release === pass) this.#relay.release();
      await this.#queue.send(backlog);
      await until('the queue is empty', async () => {
        await this.#ringshift(undefined, 'replay', 'run', '--local');
        const { waiting, dead } = await this.#queue.depth();
        if (dead > 0) throw new Error(`${dead} messages are dead`);
        return waiting === 0;
      });
    }
    this.#relay.release();
    await until('what was held has arrived', async () => this.#relay.heldCount === 0);
    return backlog.length;
  }

  /** The product's own opinion. */
  async #validate(): Promise<string[]> {
    const found: string[] = [];
    for (const keyspace of this.#keyspaces) {
      const { code, stdout } = await runRingshift([
        ...['validate', 'start', '--local', '--keyspace', keyspace, '--json', '--config', this.#configFile],
      ]);
      if (code !== 0) found.push(`validate of ${keyspace} says: ${stdout}`);
    }
    return found;
  }

  async #shadowInFlight(): Promise<number> {
    return (await this.#proxy.counters())['shadowInFlight'] ?? 0;
  }

  async #tell(tables: readonly PlacedTable[], slot: number): Promise<void> {
    if (this.onSlot === undefined) return;
    for (const { name } of tables) {
      const read = async (client: Client) =>
        (await client.execute(`SELECT JSON * FROM ${name}`)).rows.map((row) => String(row.values()[0]));
      this.onSlot(slot, { origin: await read(this.#origin), target: await read(this.#target) });
    }
  }

  async #ringshift(code: number | undefined, ...args: string[]): Promise<void> {
    const result = await runRingshift([...args, '--config', this.#configFile, '--json']);
    if (code !== undefined && result.code !== code) {
      throw new Error(`ringshift ${args.join(' ')} ended with ${result.code}:\n${result.stderr}${result.stdout}`);
    }
  }
}

async function inLanes<T>(all: readonly T[], work: (one: T) => Promise<unknown>): Promise<void> {
  const queue = all.values();
  const lane = async (): Promise<void> => {
    for (const one of queue) await work(one);
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}
