import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveCluster, resolveLogins } from '#adapters/config-file.ts';
import { createLogger } from '#adapters/logger.ts';
import { type MigrationConfig, migrationConfigSchema } from '#core/config/schema.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import type { FailedWriteQueue, QueuedMessage } from '#core/ports.ts';
import { CqlProxy } from '../../proxy-container/src/proxy.ts';
import { Flusher } from '../../proxy-container/src/transport/frame-writer.ts';
import { openSession } from '../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { journalHere } from './journal-here.ts';
import { createMemoryLedgerStore } from './memory-ledger-store.ts';
import { writesOf } from './messages.ts';
import { MockCluster } from './mock-cluster.ts';
import { nothingSeen } from './open-gates.ts';

/** A queue in memory that a test can take away. */
export class MemoryQueue implements FailedWriteQueue {
  readonly messages: QueuedMessage[] = [];
  /** One look tells all, as at a directory: no change of phase waits for more of them. */
  readonly isExact = true;
  isAway = false;

  /** The writes in its messages, in their order. */
  get writes(): readonly FailedWrite[] {
    return this.messages.flatMap(({ body }) => writesOf(body));
  }

  async send(messages: readonly QueuedMessage[]): Promise<readonly string[]> {
    if (this.isAway) throw new Error('the queue is away');
    this.messages.push(...messages);
    return [];
  }

  async depth() {
    return { waiting: this.messages.length, inFlight: 0, deadLetters: 0 };
  }
}

/** A proxy in this process between two mock clusters. */
export interface TestProxy {
  readonly proxy: CqlProxy;
  readonly origin: MockCluster;
  readonly target: MockCluster;
  readonly ledger: Ledger;
  readonly queue: MemoryQueue;
  readonly port: number;
  readonly adminUrl: string;
  /** Why the proxy was declared dead, once it was. */
  readonly fenced: readonly string[];
  connect(version?: number): Promise<UpstreamConnection>;
  stop(): Promise<void>;
}

export interface TestProxyOptions {
  /** Of both mock clusters. */
  readonly maxVersion?: 4 | 5;
  /** One that another proxy uses as well, or that a test has written to. */
  readonly ledger?: Ledger;
  readonly journalDir?: string;
  /** Beside the mock's address. */
  readonly originConfig?: object;
  readonly targetConfig?: object;
  /** Instead of new ones. */
  readonly clusters?: { readonly origin: MockCluster; readonly target: MockCluster };
  readonly renames?: object;
  readonly storage?: 'volume' | 'ephemeral';
  /** Called with the mock clusters before anything connects to them. */
  readonly arrange?: (origin: MockCluster, target: MockCluster) => void;
  /** The origin has this second node, at 127.0.0.2 and the port of the first. */
  readonly secondOriginNode?: MockCluster;
}

export async function startTestProxy(proxyConfig: object = {}, options: TestProxyOptions = {}): Promise<TestProxy> {
  const origin = options.clusters?.origin ?? new MockCluster(options.maxVersion);
  const target = options.clusters?.target ?? new MockCluster(options.maxVersion);
  options.arrange?.(origin, target);
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-proxy-'));
  const cluster = (clusterPort: number) => ({
    contactPoints: ['127.0.0.1'],
    port: clusterPort,
    // Nothing but what a test makes hang takes that long, also on a busy machine.
    requestTimeoutMs: 15_000,
  });
  const originPort = await origin.listen();
  const { secondOriginNode } = options;
  await secondOriginNode?.listen(originPort, '127.0.0.2');
  const config: MigrationConfig = migrationConfigSchema.parse({
    origin: {
      ...cluster(originPort),
      ...(secondOriginNode ? { contactPoints: ['127.0.0.1', '127.0.0.2'] } : {}),
      ...options.originConfig,
    },
    target: { ...cluster(await target.listen()), ...options.targetConfig },
    proxy: {
      listen: { host: '127.0.0.1', port: 0 },
      admin: { host: '127.0.0.1', port: 0, token: 'token-of-the-unit-tests' },
      instance: 'unit',
      ...proxyConfig,
    },
    renames: options.renames,
    failedWrites: {
      journalDir: options.journalDir ?? join(folder, 'journal'),
      retryIntervalSecs: 1,
      storage: options.storage ?? null,
    },
  });
  const [resolvedOrigin, resolvedTarget] = await Promise.all([
    resolveCluster('origin', config.origin),
    resolveCluster('target', config.target),
  ]);
  const ledger = options.ledger ?? createLedger(createMemoryLedgerStore());
  const queue = new MemoryQueue();
  const fenced: string[] = [];
  const proxy = new CqlProxy(config, {
    ledger,
    queue,
    startJournal: journalHere(queue),
    journalKeys: { current: null, previous: [] },
    maxMessageBytes: 250_000,
    lookAtClusters: async () => nothingSeen,
    onFenced: (error) => void fenced.push(error.message),
    origin: resolvedOrigin,
    target: resolvedTarget,
    logins: await resolveLogins(config.proxy.logins),
    logger: createLogger('test', 'silent'),
  });
  try {
    await proxy.start();
  } catch (error) {
    await proxy.stop().catch(() => undefined);
    await Promise.all([origin.close(), target.close()]);
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  const clients: UpstreamConnection[] = [];
  const { port } = proxy.addresses!.listen;
  return {
    proxy,
    origin,
    target,
    ledger,
    queue,
    fenced,
    port,
    adminUrl: `http://127.0.0.1:${proxy.addresses!.admin.port}`,
    async connect(version = 4) {
      const address = { host: '127.0.0.1', port, connectTimeoutMs: 20_000 };
      const client = await UpstreamConnection.open(address, version, new Flusher());
      const startup = new Map([['CQL_VERSION', '3.0.0']]);
      await openSession(client, { version, startup, credentials: undefined, keyspace: 'ks' }, 20_000);
      clients.push(client);
      return client;
    },
    async stop() {
      for (const client of clients) client.close();
      await proxy.stop();
      await Promise.all([origin.close(), target.close(), secondOriginNode?.close()]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
