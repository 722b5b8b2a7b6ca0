/** A proxy in the test's own process, between real clusters, with its queue in memory. */
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema, type ResolvedCluster } from '#core/config/schema.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { CqlProxy } from '../../../proxy-container/src/proxy.ts';
import type { MemoryQueue } from '../../support/in-process-proxy.ts';
import { journalHere } from '../../support/journal-here.ts';
import { nothingSeen } from '../../support/open-gates.ts';
import { readTestEnvironment } from './test-environment.ts';

export interface ProxyHereOptions {
  readonly instance: string;
  readonly origin: { readonly host: string; readonly port: number };
  readonly target: { readonly host: string; readonly port: number };
  readonly requestTimeoutMs?: number;
  readonly shadowTimeoutMs: number;
  readonly journalDir: string;
  readonly ledger: Ledger;
  readonly queue: MemoryQueue;
}

/** Starts it in `dual-async`, on free ports. */
export async function startProxyHere(options: ProxyHereOptions): Promise<CqlProxy> {
  const { instance, origin, target, requestTimeoutMs, shadowTimeoutMs, journalDir, ledger, queue } = options;
  const { proxyAddress: host, username, password } = readTestEnvironment();
  const at = (place: ProxyHereOptions['origin']) => ({
    contactPoints: [place.host],
    port: place.port,
    ...(requestTimeoutMs === undefined ? {} : { requestTimeoutMs }),
  });
  const config = migrationConfigSchema.parse({
    origin: at(origin),
    target: at(target),
    proxy: {
      listen: { host, port: 0 },
      admin: { host, port: 0 },
      instance,
      initialPhase: 'dual-async',
      shadowTimeoutMs,
    },
    failedWrites: { journalDir, retryIntervalSecs: 1 },
  });
  const resolved = (name: 'origin' | 'target'): ResolvedCluster => {
    const { auth: _, ...rest } = config[name];
    return { ...rest, name, credentials: { username, password } };
  };
  const proxy = new CqlProxy(config, {
    ledger,
    queue,
    lookAtClusters: async () => nothingSeen,
    startJournal: journalHere(queue),
    journalKeys: { current: null, previous: [] },
    maxMessageBytes: 250_000,
    logger: createLogger(instance, 'silent'),
    origin: resolved('origin'),
    target: resolved('target'),
  });
  await proxy.start();
  return proxy;
}
