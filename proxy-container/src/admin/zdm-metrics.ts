import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Counters } from '../counters/counters.ts';
import type { LatencyHistogram } from '../counters/latency.ts';
import { labelText, type MetricFamily, type MetricSample, mergeMetrics } from './metric-family.ts';
import type { ProxyStatus } from './status.ts';

type Type = MetricFamily['type'];
type Latencies = readonly (readonly [LatencyHistogram, Readonly<Record<string, string>>])[];

/** Connections are shared by all clients and their metrics are of a cluster, where zdm-proxy has them by node. */
const NODE = { node: 'all' };

/**
 * The same by the names of zdm-proxy, so that dashboards and alerts made for it go on.
 * @param prefix what zdm-proxy calls ZDM_METRICS_PREFIX
 */
export function zdmMetrics(prefix: string, counters: Counters, status: ProxyStatus): MetricFamily[] {
  const families: MetricFamily[] = [];
  const add = (type: Type, name: string, help: string, samples: readonly MetricSample[]): void => {
    families.push({ name: `${prefix}_${name}`, help, type, labels: [], merge: 'sum', samples });
  };
  const histogram = (name: string, help: string, latencies: Latencies): void => {
    for (const [latency, labels] of latencies) {
      add('histogram', name, help, latency.samples(labelText(labels).slice(1, -1)));
    }
  };
  const { read, write } = counters.latencies;
  add('gauge', 'client_connections_total', 'Client connections now', [['', counters.clientConnections]]);
  histogram('proxy_request_duration_seconds', 'From a request to its answer', [
    [read.origin, { type: 'reads_origin' }],
    [read.target, { type: 'reads_target' }],
    [write.origin, { type: 'writes' }],
    [write.target, { type: 'writes' }],
  ]);
  const readsOf = (cluster: ClusterName): number => {
    const isPrimary = status.clusters.some(({ name, role }) => name === cluster && role === 'primary');
    return isPrimary ? counters.inFlightReads : 0;
  };
  add('gauge', 'proxy_inflight_requests_total', 'Requests under way', [
    [labelText({ type: 'reads_origin' }), readsOf('origin')],
    [labelText({ type: 'reads_target' }), readsOf('target')],
    [labelText({ type: 'writes' }), counters.inFlightWrites],
  ]);
  add('counter', 'proxy_failed_reads_total', 'Failed reads', [
    [labelText({ cluster: 'origin' }), counters.failedReadsOrigin],
    [labelText({ cluster: 'target' }), counters.failedReadsTarget],
  ]);
  add('counter', 'proxy_failed_writes_total', 'Failed writes', [
    [labelText({ failed_on: 'origin' }), counters.failedWritesOrigin],
    [labelText({ failed_on: 'target' }), counters.failedWritesTarget],
    [labelText({ failed_on: 'both' }), counters.failedWritesBoth],
  ]);
  add('counter', 'proxy_failed_connections_total', 'Connections to a cluster that were not made', [
    [labelText({ cluster: 'origin' }), counters.failedConnectionsOrigin],
    [labelText({ cluster: 'target' }), counters.failedConnectionsTarget],
  ]);
  add('gauge', 'pscache_entries_total', 'Prepared statements known', [['', status.preparedStatements]]);
  add('counter', 'pscache_miss_total', 'EXECUTE of unknown statements', [['', counters.preparedMisses]]);
  for (const { name, connections, inFlight } of status.clusters) {
    const failed = name === 'origin' ? counters.failedConnectionsOrigin : counters.failedConnectionsTarget;
    add('gauge', `${name}_connections_total`, 'Open connections', [[labelText(NODE), connections]]);
    add('counter', `${name}_failed_connections_total`, 'Connections not made', [[labelText(NODE), failed]]);
    add('gauge', `${name}_used_stream_ids_total`, 'Stream ids taken', [[labelText(NODE), inFlight]]);
    histogram(`${name}_request_duration_seconds`, 'From a request to the answer of the cluster', [
      [read[name], { ...NODE, type: 'reads' }],
      [write[name], { ...NODE, type: 'writes' }],
      [counters.shadowLatency[name], { ...NODE, type: 'writes' }],
    ]);
    const errors = [...counters.errors[name].counts];
    add(
      'counter',
      `${name}_requests_failed_total`,
      'Errors of the cluster',
      errors.map(([error, count]) => [labelText({ ...NODE, error }), count]),
    );
  }
  // The same series twice (writes as primary and as shadow) is their sum.
  return mergeMetrics([families]);
}
