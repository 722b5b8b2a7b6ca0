/** The local stand-in of a whole migration: an origin, a target and an AWS, started and stopped together. */

import { join } from 'node:path';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { NodeSettings } from './cassandra-config.ts';
import { requireNodePorts, runningPid, startNode, stopNode } from './cassandra-node.ts';
import { roleStatements, runAsAdministrator } from './cluster-roles.ts';
import { type LocalAwsSettings, requireAwsPort, runningAwsPid, startLocalAws, stopLocalAws } from './local-aws.ts';
import { cacheRoot } from './paths.ts';
import { stopProxy } from './proxy-pid.ts';
import { CassandraVersion } from './versions.ts';

export interface LocalEnvironment {
  /** Below `.ringshift/`; holds data, logs and state. */
  readonly folder: string;
  readonly origin: NodeSettings;
  readonly target: NodeSettings;
  readonly aws: LocalAwsSettings;
  /** Where the proxy goes: CQL on 9042, the admin API on 8080. */
  readonly proxyAddress: string;
}

/** Addresses end in consecutive numbers from `firstHost`: origin, target, proxy. */
export function describeEnvironment(name: string, firstHost: number, awsPort: number): LocalEnvironment {
  const folder = join(cacheRoot, name);
  const node = (side: ClusterName, host: number): NodeSettings => ({
    name: `${name}-${side}`,
    version: CassandraVersion[side],
    address: `127.0.0.${host}`,
    port: 9042,
    storagePort: 7000,
    jmxPort: 7100 + host,
    heapMB: 768,
    folder: join(folder, side),
    // The demo and the tests kill the target to see what becomes of the writes that it misses.
    survivesKill: side === 'target',
  });
  return {
    folder,
    origin: node('origin', firstHost),
    target: node('target', firstHost + 1),
    aws: { address: '127.0.0.1', port: awsPort, folder: join(folder, 'aws') },
    proxyAddress: `127.0.0.${firstHost + 2}`,
  };
}

/** What `npm run demo` and `ringshift local` use. */
export const demoEnvironment = describeEnvironment('local', 1, 4566);
/** What the integration tests use: others, so that both can run at once. */
export const testEnvironment = describeEnvironment('test', 11, 4576);

export interface RunningEnvironment {
  readonly origin: boolean;
  readonly target: boolean;
  readonly aws: boolean;
}

export async function environmentStatus(environment: LocalEnvironment): Promise<RunningEnvironment> {
  const [origin, target, aws] = await Promise.all([
    runningPid(environment.origin),
    runningPid(environment.target),
    runningAwsPid(environment.aws),
  ]);
  return { origin: origin !== undefined, target: target !== undefined, aws: aws !== undefined };
}

export interface StartOptions {
  readonly java: string;
  /** Whether data of an earlier run is kept. */
  readonly keepData: boolean;
  readonly report: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** Faults are found before anything is started, so that a taken port costs no half start. */
async function requirePorts(environment: LocalEnvironment): Promise<void> {
  const running = await environmentStatus(environment);
  if (!running.origin) await requireNodePorts(environment.origin);
  if (!running.target) await requireNodePorts(environment.target);
  if (!running.aws) await requireAwsPort(environment.aws);
}

async function startCluster(environment: LocalEnvironment, side: ClusterName, options: StartOptions): Promise<void> {
  const settings = environment[side];
  const started = Date.now();
  await startNode(settings, options);
  await runAsAdministrator(settings, roleStatements(side));
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  options.report(
    `${side}: Cassandra ${settings.version} answers on ${settings.address}:${settings.port} (${seconds} s)`,
  );
}

/**
 * Starts what does not run yet, all in parallel. After a failure nothing is left running.
 * @throws PrerequisiteError (the first fault; what to do is in its message)
 */
export async function startEnvironment(environment: LocalEnvironment, options: StartOptions): Promise<void> {
  await requirePorts(environment);
  const failed = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
  const startAws = async (): Promise<void> => {
    await startLocalAws(environment.aws, signal);
    options.report(`local AWS answers on ${environment.aws.address}:${environment.aws.port}`);
  };
  const inner = { ...options, signal };
  let firstError: unknown;
  const guarded = [
    startCluster(environment, 'origin', inner),
    startCluster(environment, 'target', inner),
    startAws(),
  ].map((work) =>
    work.catch((error: unknown) => {
      firstError ??= error;
      failed.abort();
    }),
  );
  await Promise.all(guarded);
  if (firstError === undefined) return;
  await stopEnvironment(environment);
  throw firstError;
}

/** Stops all parts, the proxy first; parts that do not run cost nothing. */
export async function stopEnvironment(environment: LocalEnvironment): Promise<void> {
  await stopProxy(environment.folder);
  await Promise.all([stopNode(environment.origin), stopNode(environment.target), stopLocalAws(environment.aws)]);
}
