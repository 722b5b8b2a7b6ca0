/** Everything that the fault bed does things to: two clusters behind relays, three proxies, AWS behind a fault proxy. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { auth, Client, policies, types } from 'cassandra-driver';
import { createSqsClient } from '#adapters/aws-clients.ts';
import { changeReplayState } from '#core/ledger/replay-state.ts';
import { openRuns } from '../../../cli/runs.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { connectToTestCluster, recreateKeyspace } from '../../integration/support/clusters.ts';
import { readTestEnvironment } from '../../integration/support/test-environment.ts';
import { FrameRelay } from '../frame-relay.ts';
import { ProxyProcess } from '../proxy-process.ts';
import { TcpRelay } from '../tcp-relay.ts';
import { AwsFaultProxy } from './aws-fault-proxy.ts';
import { deployFaultStacks, type FaultStacks } from './fault-stacks.ts';
import { PhaseTimes } from './phase-times.ts';
import { SmallDisk } from './small-disk.ts';
import { TestQueue } from './test-queue.ts';
import { until } from './until.ts';

export const PROXY_COUNT = 3;
/** The proxy whose host may end with its disk. Its application has tables of its own: all of them are marked then. */
export const EPHEMERAL = 1;
/** The proxy whose journal is on a small disk of its own. */
const ON_SMALL_DISK = 2;
/** Room for what a proxy keeps on an empty disk: journal, marks, and the log of writes under way. */
const SMALL_DISK_MB = 64;
/** The stack's own outlasts its function; here a batch of a function that was killed shall not be waited for so long. */
const VISIBILITY_SECONDS = 20;
const TABLES = [
  'plain (id int PRIMARY KEY, v text, n int)',
  'aging (id int PRIMARY KEY, v text, n int) WITH default_time_to_live = 100000',
  'conditional (id int PRIMARY KEY, v text)',
  'lists (id int PRIMARY KEY, l list<int>)',
  'counts (id int PRIMARY KEY, c counter)',
];

/** What was away is looked for again at once: a node that was killed is back when somebody waits for it. */
const SOON = new policies.reconnection.ConstantReconnectionPolicy(250);

const proxyPort = (index: number): number => 19_810 + index;

export interface FaultWorldOptions {
  readonly java: string;
  /** Of every proxy, beside what the bed needs. */
  readonly env?: NodeJS.ProcessEnv;
}

export class FaultWorld {
  readonly java: string;
  readonly proxies: ProxyProcess[] = [];
  readonly apps: Client[] = [];
  origin!: Client;
  target!: Client;
  aws!: AwsFaultProxy;
  originRelay!: TcpRelay;
  targetRelay!: TcpRelay;
  /** Knows the statements on their way to the target. */
  copies!: FrameRelay;
  /** Undefined where this machine does not permit it. */
  smallDisk: SmallDisk | undefined;
  stacks!: FaultStacks;
  queue!: TestQueue;
  /** Bodies of the messages that reached the queue. */
  readonly queued: string[] = [];
  readonly times = new PhaseTimes();
  readonly #keyspaces: string[] = [];
  readonly #lambda = new LambdaClient({});
  readonly #env: NodeJS.ProcessEnv;

  constructor({ java, env = {} }: FaultWorldOptions) {
    this.java = java;
    this.#env = env;
  }

  async start(): Promise<void> {
    const environment = readTestEnvironment();
    [this.origin, this.target, this.stacks] = await Promise.all([
      connectToTestCluster('origin', { policies: { reconnection: SOON } }),
      connectToTestCluster('target', { policies: { reconnection: SOON } }),
      this.times.time('deployment', () => deployFaultStacks()),
    ]);
    this.queue = TestQueue.of(createSqsClient(), this.stacks.queueUrl, this.stacks.deadLetterQueueUrl);
    await this.queue.setVisibilityTimeout(VISIBILITY_SECONDS);
    this.aws = new AwsFaultProxy(environment.awsEndpoint);
    const endpoint = await this.aws.listen();
    this.aws.onDone = ({ service, operation }, body) => {
      if (service === 'sqs' && operation.startsWith('SendMessage')) this.queued.push(...bodiesIn(body));
    };
    const { proxyAddress: host } = environment;
    this.originRelay = new TcpRelay(host, 19_821, environment.origin);
    this.targetRelay = new TcpRelay(host, 19_822, environment.target);
    await Promise.all([this.originRelay.restore(), this.targetRelay.restore()]);
    this.copies = new FrameRelay({ host, port: 19_822 });
    const targetPort = await this.copies.listen();
    await this.times.time('proxies', async () => {
      // The first one finds no phase and sets it.
      await this.#startProxy(0, endpoint, targetPort);
      await Promise.all([this.#startProxy(1, endpoint, targetPort), this.#startProxy(2, endpoint, targetPort)]);
    });
    await this.times.time('phase', () => this.proxies[0]!.setPhase('dual-async'));
    for (let index = 0; index < PROXY_COUNT; index++) this.apps.push(await this.#connect(index));
  }

  /** What the clock of a proxy is off by from now on. Milliseconds. */
  shiftClock(index: number, offsetMs: number): void {
    writeFileSync(join(this.proxies[index]!.folder, 'clock'), String(offsetMs));
  }

  /**
   * For each run keyspaces of its own: marks and rows of the one before say nothing of it. Resolves to that of each
   * application.
   */
  async newKeyspaces(): Promise<readonly string[]> {
    await this.queue.clear();
    this.queued.length = 0;
    const shared = `faults_test_${this.#keyspaces.length}`;
    const own = `${shared}_gone`;
    this.#keyspaces.push(shared, own);
    for (const client of [this.origin, this.target]) {
      for (const keyspace of [shared, own]) {
        await recreateKeyspace(client, keyspace);
        for (const table of TABLES) await client.execute(`CREATE TABLE ${keyspace}.${table}`);
      }
    }
    return this.proxies.map((_, index) => (index === EPHEMERAL ? own : shared));
  }

  /** Resolves when the clients of the bed itself are connected again. */
  async clustersAnswer(): Promise<void> {
    for (const [name, client] of Object.entries({ origin: this.origin, target: this.target })) {
      await until(`the ${name} answers`, () =>
        client.execute('SELECT key FROM system.local').then(
          () => true,
          () => false,
        ),
      );
    }
  }

  /** To all of them at once. */
  signalProxies(signal: 'SIGSTOP' | 'SIGCONT'): void {
    for (const { pid } of this.proxies) if (pid !== undefined) process.kill(pid, signal);
  }

  /** The directory of a proxy's journal, as it can be read from here. */
  journalOf(index: number): string {
    const isSmall = index === ON_SMALL_DISK && this.smallDisk !== undefined;
    return isSmall ? this.smallDisk!.seenFromOutside('journal') : join(this.proxies[index]!.folder, 'journal');
  }

  /** Failed writes that reached the queue; a pointer to a large one counts as one. */
  /** What proxies, all starts of them together, say of requests that they failed by a fault of their own. */
  unhandledRequests(): readonly string[] {
    const lines = this.proxies.flatMap(({ output }) => output.split('\n'));
    return lines.filter((line) => line.includes('"a request could not be handled"'));
  }

  get queuedWrites(): number {
    return this.queued.reduce((sum, body) => {
      const { writes, tokens } = JSON.parse(body) as { writes?: readonly unknown[]; tokens?: readonly unknown[] };
      return sum + (writes?.length ?? tokens?.length ?? 1);
    }, 0);
  }

  /** As `ringshift replay pause` does, or `resume`, and as the schedule makes it hold. */
  async pauseReplay(isPaused: boolean): Promise<void> {
    const { ledger } = await openRuns(this.stacks.configFile);
    const paused = isPaused ? { by: 'test', why: 'so that something is owed', at: new Date().toISOString() } : null;
    await changeReplayState(ledger.store, (state) => ({ ...state, paused }));
    await this.tendReplay();
  }

  /** What the schedule does each minute: the replay goes on once the cluster is back, and who has vanished is noticed. */
  async tendReplay(): Promise<void> {
    await this.#lambda.send(new InvokeCommand({ FunctionName: `${this.stacks.name}-replay-breaker` }));
  }

  /** Keeps what the proxies have logged and what they say of themselves; resolves to where. */
  async keepLogs(): Promise<string> {
    const folder = join(testEnvironment.folder, 'faults');
    for (const [index, proxy] of this.proxies.entries()) {
      const status = await proxy.text('/status').catch(String);
      writeFileSync(join(folder, `proxy-${index}.log`), `${proxy.output}\n${status}\n`);
    }
    return folder;
  }

  async stop(): Promise<void> {
    for (const app of this.apps) await app.shutdown();
    for (const proxy of this.proxies) {
      await proxy.kill();
      proxy.cleanUp();
    }
    await this.smallDisk?.close();
    await Promise.all([this.copies?.close(), this.originRelay?.cut(), this.targetRelay?.cut(), this.aws?.close()]);
    for (const client of [this.origin, this.target]) {
      for (const keyspace of this.#keyspaces) {
        await client?.execute(`DROP KEYSPACE IF EXISTS ${keyspace}`).catch(() => undefined);
      }
      await client?.shutdown();
    }
    this.queue?.close();
    this.#lambda.destroy();
  }

  async #startProxy(index: number, awsUrl: string, targetPort: number): Promise<void> {
    const environment = readTestEnvironment();
    const { username, password, proxyAddress: host } = environment;
    const { bucket, queueUrl } = this.stacks;
    const onFaultProxy = new URL(queueUrl);
    onFaultProxy.host = new URL(awsUrl).host;
    const disk = `/tmp/ringshift-faults-${process.pid}`;
    if (index === ON_SMALL_DISK) this.smallDisk = await SmallDisk.open(disk, SMALL_DISK_MB);
    const isSmall = index === ON_SMALL_DISK && this.smallDisk !== undefined;
    const proxy: ProxyProcess = new ProxyProcess({
      listen: { host, port: proxyPort(index) },
      admin: { host, port: 18_810 + index },
      origin: { host, port: 19_821 },
      target: { host: '127.0.0.1', port: targetPort },
      login: { username, password },
      clusters: { requestTimeoutMs: 4_000 },
      ledger: { kind: 's3', bucket, prefix: `run-${process.pid}/` },
      proxy: {
        instance: `faults-${index}`,
        shadowTimeoutMs: 1_500,
        clocks: { warnSkewMs: 50, maxSkewMs: 60_000 },
      },
      failedWrites: {
        queueUrl: onFaultProxy.href,
        storage: index === EPHEMERAL ? 'ephemeral' : 'volume',
        ...(isSmall ? { journalDir: join(disk, 'journal') } : {}),
      },
      env: { ...this.#env, AWS_ENDPOINT_URL: awsUrl, AWS_ENDPOINT_URL_S3: awsUrl },
      ...(isSmall ? { launcher: this.smallDisk!.launcher } : {}),
    });
    const clock = join(proxy.folder, 'clock');
    proxy.addEnv({
      RINGSHIFT_CLOCK_OFFSET_FILE: clock,
      NODE_OPTIONS: `--import=${new URL('./shifted-clock.ts', import.meta.url).href}`,
    });
    this.proxies[index] = proxy;
    await proxy.start();
  }

  async #connect(index: number): Promise<Client> {
    const { username, password, proxyAddress } = readTestEnvironment();
    const client = new Client({
      contactPoints: [proxyAddress],
      protocolOptions: { port: proxyPort(index) },
      localDataCenter: 'dc1',
      authProvider: new auth.PlainTextAuthProvider(username, password),
      socketOptions: { readTimeout: 8_000, connectTimeout: 5_000 },
      queryOptions: { consistency: types.consistencies.localOne, prepare: true },
      policies: {
        // What an application is told is what it knows: nothing is tried again behind its back.
        retry: new policies.retry.FallthroughRetryPolicy(),
        reconnection: SOON,
        timestampGeneration: null as never,
      },
    });
    await client.connect();
    return client;
  }
}

/** Of all messages in a request that sends some. */
function bodiesIn(request: string): readonly string[] {
  const sent = JSON.parse(request) as { MessageBody?: string; Entries?: readonly { MessageBody: string }[] };
  return sent.Entries?.map(({ MessageBody }) => MessageBody) ?? [sent.MessageBody ?? '{}'];
}
