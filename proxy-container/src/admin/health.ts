import type { ClusterName } from '#core/model/cluster-name.ts';
import type { AdminSubject } from './admin-subject.ts';
import { NoProcessError } from './no-process-error.ts';
import { type ProxyStatus, readinessOf } from './status.ts';

interface Health {
  readonly status: 200 | 503;
  readonly body: object;
}

/** Whether the proxy should get traffic, and why not. */
export async function healthOf(subject: AdminSubject, maxSkewMs: number): Promise<Health> {
  const status = await statusOrNone(subject);
  const reasons = status ? readinessOf(status, maxSkewMs) : ['no process of this proxy runs yet'];
  const isReady = reasons.length === 0;
  return {
    status: isReady ? 200 : 503,
    body: {
      status: isReady ? 'healthy' : 'unhealthy',
      service: 'ringshift-proxy',
      Status: isReady ? 'UP' : 'DOWN',
      OriginStatus: clusterStatus(status, 'origin'),
      TargetStatus: clusterStatus(status, 'target'),
      phase: status?.phase ?? null,
      reasons,
    },
  };
}

/** The same in the form of zdm-proxy: the fields of its StatusReport. A shadow that is away does not make it DOWN here. */
export async function zdmHealthOf(subject: AdminSubject, maxSkewMs: number): Promise<Health> {
  const status = await statusOrNone(subject);
  if (!status) return { status: 503, body: { OriginStatus: null, TargetStatus: null, Status: 'STARTUP' } };
  const isReady = readinessOf(status, maxSkewMs).length === 0;
  const cluster = (name: ClusterName): object => {
    const found = status.clusters.find((one) => one.name === name);
    const isUp = found?.state === 'up';
    return {
      Addr: found?.hosts[0] ?? '',
      CurrentFailureCount: isUp ? 0 : 1,
      FailureCountThreshold: 1,
      Status: isUp ? 'UP' : 'DOWN',
    };
  };
  return {
    status: isReady ? 200 : 503,
    body: { OriginStatus: cluster('origin'), TargetStatus: cluster('target'), Status: isReady ? 'UP' : 'DOWN' },
  };
}

async function statusOrNone(subject: AdminSubject): Promise<ProxyStatus | undefined> {
  try {
    return await subject.status();
  } catch (error) {
    if (error instanceof NoProcessError) return undefined;
    throw error;
  }
}

function clusterStatus(status: ProxyStatus | undefined, name: ClusterName): 'UP' | 'DOWN' {
  return status?.clusters.find((cluster) => cluster.name === name)?.state === 'up' ? 'UP' : 'DOWN';
}
