import packageJson from '../../../package.json' with { type: 'json' };
import type { Counters } from '../counters/counters.ts';
import { countMetrics } from './count-metrics.ts';
import { ledgerMetrics } from './ledger-metrics.ts';
import { labelText, type MetricDefinition, type MetricFamily, type MetricSample } from './metric-family.ts';
import { runtimeMetrics } from './runtime-metrics.ts';
import type { RuntimeWatch } from './runtime-watch.ts';
import { stateMetrics } from './state-metrics.ts';
import type { ProxyStatus } from './status.ts';
import { zdmMetrics } from './zdm-metrics.ts';

const buildInfo: MetricDefinition = {
  name: 'ringshift_build_info',
  help: 'Which build runs: 1',
  type: 'gauge',
  labels: ['version', 'node'],
  merge: 'max',
};

/** Of a host with several processes, or of the only one. */
const hostMetrics = {
  processes: {
    name: 'ringshift_processes',
    help: 'Processes that this proxy is to have, and those that take clients',
    type: 'gauge',
    labels: ['state'],
    merge: 'max',
  },
  restarts: {
    name: 'ringshift_process_restarts_total',
    help: 'Processes that died and were started again',
    type: 'counter',
    labels: [],
    merge: 'sum',
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Everything that `/metrics` shows, except for the names of zdm-proxy. */
export const metricDefinitions: readonly MetricDefinition[] = [
  buildInfo,
  ...stateMetrics,
  ...countMetrics,
  ...ledgerMetrics,
  ...runtimeMetrics,
  ...Object.values(hostMetrics),
];

/** Where the metrics of a process come from. */
export interface MetricSources {
  readonly counters: Counters;
  readonly runtime: RuntimeWatch;
  /** Of zdm-proxy's names; null: without them. */
  readonly zdmPrefix: string | null;
  status(): ProxyStatus;
}

/** The metrics of this process, as they are now. */
export function collectMetrics({ counters, runtime, zdmPrefix, status }: MetricSources): MetricFamily[] {
  const now = status();
  const isServing = now.isListening && !now.isDraining;
  return [
    ...collectHostMetrics({ configured: 1, serving: isServing ? 1 : 0, restarts: 0 }),
    { ...buildInfo, samples: [[labelText({ version: packageJson.version, node: process.version }), 1]] },
    ...stateMetrics.map(({ read, ...metric }) => ({ ...metric, samples: read(now) })),
    ...[...countMetrics, ...ledgerMetrics].map(({ read, ...metric }) => ({ ...metric, samples: read(counters) })),
    ...runtimeMetrics.map(({ read, ...metric }) => ({ ...metric, samples: read(runtime) })),
    ...(zdmPrefix === null ? [] : zdmMetrics(zdmPrefix, counters, now)),
  ];
}

/** How the processes of a host fare. */
export function collectHostMetrics(host: {
  readonly configured: number;
  readonly serving: number;
  readonly restarts: number;
}): MetricFamily[] {
  const samples: MetricSample[] = [
    [labelText({ state: 'configured' }), host.configured],
    [labelText({ state: 'serving' }), host.serving],
  ];
  return [
    { ...hostMetrics.processes, samples },
    { ...hostMetrics.restarts, samples: [['', host.restarts]] },
  ];
}
