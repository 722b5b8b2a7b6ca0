import { monitorEventLoopDelay } from 'node:perf_hooks';
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { phases } from '#core/config/schema.ts';
import type { Counters } from '../counters.ts';
import type { LatencyHistogram } from '../latency.ts';
import type { ProxyStatus } from './status.ts';

type NumericKey = { [K in keyof Counters]: Counters[K] extends number ? K : never }[keyof Counters];

interface PlainMetric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly series: readonly { readonly labels?: string; readonly key: NumericKey }[];
}

/** Names that dashboards for zdm-proxy know come first; then our own. */
const PLAIN: readonly PlainMetric[] = [
  gauge('zdm_client_connections_total', 'Clients connected now', { key: 'clientConnections' }),
  counter(
    'zdm_proxy_failed_reads_total',
    'Reads that failed, by cluster',
    { key: 'failedReadsOrigin', labels: 'cluster="origin"' },
    { key: 'failedReadsTarget', labels: 'cluster="target"' },
  ),
  counter(
    'zdm_proxy_failed_writes_total',
    'Writes that failed, by cluster',
    { key: 'failedWritesOrigin', labels: 'failed_on="origin"' },
    { key: 'failedWritesTarget', labels: 'failed_on="target"' },
    { key: 'failedWritesBoth', labels: 'failed_on="both"' },
  ),
  counter(
    'zdm_proxy_failed_connections_total',
    'Connections to a node that were not made, by cluster',
    { key: 'failedConnectionsOrigin', labels: 'cluster="origin"' },
    { key: 'failedConnectionsTarget', labels: 'cluster="target"' },
  ),
  gauge(
    'zdm_proxy_inflight_requests_total',
    'Requests under way',
    { key: 'inFlightReads', labels: 'type="reads"' },
    { key: 'inFlightWrites', labels: 'type="writes"' },
  ),
  counter('zdm_pscache_miss_total', 'EXECUTE of statements that this instance does not know', {
    key: 'preparedMisses',
  }),
  counter(
    'ringshift_requests_total',
    'Requests of clients',
    { key: 'reads', labels: 'kind="read"' },
    { key: 'writes', labels: 'kind="write"' },
  ),
  counter('ringshift_client_connections_total', 'Clients that ever connected', { key: 'clientConnectionsTotal' }),
  counter('ringshift_protocol_errors_total', 'Frames that broke the protocol', { key: 'protocolErrors' }),
  counter('ringshift_internal_errors_total', 'Faults of the proxy itself, each of one request', {
    key: 'internalErrors',
  }),
  counter('ringshift_reprepared_total', 'Statements prepared again on a node that had forgotten them', {
    key: 'reprepared',
  }),
  counter('ringshift_overloaded_total', 'Requests refused with OVERLOADED', { key: 'overloaded' }),
  counter('ringshift_request_timeouts_total', 'Requests without a reply of the cluster', { key: 'requestTimeouts' }),
  counter('ringshift_filtered_writes_total', 'Writes that a filter keeps on the origin', { key: 'filteredWrites' }),
  counter('ringshift_pinned_timestamps_total', 'Writes that got their timestamp here', { key: 'pinnedTimestamps' }),
  counter(
    'ringshift_shadow_writes_total',
    'Copies to the shadow cluster, by outcome',
    { key: 'shadowSucceeded', labels: 'outcome="succeeded"' },
    { key: 'shadowFailed', labels: 'outcome="failed"' },
  ),
  counter('ringshift_shadow_timeouts_total', 'Copies without a reply in time', { key: 'shadowTimeouts' }),
  counter('ringshift_shadow_overflows_total', 'Copies that found no room', { key: 'shadowOverflows' }),
  counter('ringshift_shadow_unqueueable_total', 'Failed copies that may not be replayed', { key: 'shadowUnqueueable' }),
  gauge('ringshift_shadow_in_flight', 'Copies under way', { key: 'shadowInFlight' }),
  gauge('ringshift_shadow_bytes', 'Memory of copies under way', { key: 'shadowBytes' }),
  counter('ringshift_journaled_writes_total', 'Failed copies written to the journal', { key: 'journaled' }),
  counter('ringshift_journal_full_total', 'Failed copies that found the journal full', { key: 'journalFull' }),
  counter('ringshift_definitions_not_copied_total', 'Schema changes that are on one cluster only', {
    key: 'definitionsNotCopied',
  }),
];

function counter(name: string, help: string, ...series: PlainMetric['series'][number][]): PlainMetric {
  return { name, help, type: 'counter', series };
}

function gauge(name: string, help: string, ...series: PlainMetric['series'][number][]): PlainMetric {
  return { name, help, type: 'gauge', series };
}

/** The names of all metrics of the data path, for dashboards and their tests. */
export const metricNames: readonly string[] = [
  ...PLAIN.map(({ name }) => name),
  'zdm_proxy_request_duration_seconds',
  'ringshift_shadow_duration_seconds',
];

/** Renders what `/metrics` answers. */
export function createMetrics(counters: Counters, status: () => ProxyStatus): { render(): Promise<string> } {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const set = (name: string, help: string, labelNames: string[], collect: (gauge: Gauge) => void): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        collect(this);
      },
    });
  };
  set('ringshift_phase', 'The phase that this instance acts on', ['phase'], (one) => {
    for (const phase of phases) one.set({ phase }, status().phase === phase ? 1 : 0);
  });
  set('ringshift_epoch', 'The epoch that this instance acts on', [], (one) => one.set(status().epoch));
  set('ringshift_held_requests', 'Requests that wait for a change of phase', [], (one) => one.set(status().held));
  set('ringshift_cluster_up', 'Whether a cluster answers', ['cluster'], (one) => {
    for (const cluster of status().clusters) one.set({ cluster: cluster.name }, cluster.state === 'up' ? 1 : 0);
  });
  set('ringshift_upstream_connections', 'Open connections to a cluster', ['cluster'], (one) => {
    for (const cluster of status().clusters) one.set({ cluster: cluster.name }, cluster.connections);
  });
  set('ringshift_journal_messages', 'Failed copies that wait in the journal', [], (one) =>
    one.set(status().failedWrites.journalMessages),
  );
  set('ringshift_journal_bytes', 'Size of the journal', [], (one) => one.set(status().failedWrites.journalBytes));
  set('ringshift_failed_writes_lost', 'Failed copies that the disk lost since the start', [], (one) =>
    one.set(status().failedWrites.lost),
  );
  set('ringshift_failed_writes_set_aside', 'Failed copies that the queue refuses, kept on the disk', [], (one) =>
    one.set(status().failedWrites.setAside),
  );
  set('ringshift_failed_writes_queued_total', 'Failed copies that the queue has taken since the start', [], (one) =>
    one.set(status().failedWrites.queued),
  );
  set('ringshift_suspect_marks', 'Suspect marks since the start', [], (one) =>
    one.set(status().failedWrites.suspectMarks),
  );
  set('ringshift_ledger_away_seconds', 'How long the ledger has been away', [], (one) =>
    one.set(status().ledger.awayMs / 1000),
  );
  set('zdm_pscache_entries_total', 'Prepared statements known', [], (one) => one.set(status().preparedStatements));
  set('ringshift_event_loop_delay_seconds', 'Event-loop delay since the last scrape', ['quantile'], (one) => {
    for (const quantile of [50, 99]) one.set({ quantile: String(quantile / 100) }, delay.percentile(quantile) / 1e9);
    delay.reset();
  });
  return {
    async render() {
      return `${plainLines(counters).join('\n')}\n${await registry.metrics()}`;
    },
  };
}

function plainLines(counters: Counters): string[] {
  const lines: string[] = [];
  for (const { name, help, type, series } of PLAIN) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const { key, labels } of series) lines.push(`${name}${labels ? `{${labels}}` : ''} ${counters[key]}`);
  }
  const histograms: [string, string, LatencyHistogram][] = [
    ['zdm_proxy_request_duration_seconds', 'type="reads_origin"', counters.readsOrigin],
    ['zdm_proxy_request_duration_seconds', 'type="reads_target"', counters.readsTarget],
    ['zdm_proxy_request_duration_seconds', 'type="writes"', counters.writeLatency],
    ['ringshift_shadow_duration_seconds', 'kind="write"', counters.shadowLatency],
  ];
  const announced = new Set<string>();
  for (const [name, labels, histogram] of histograms) {
    if (!announced.has(name)) lines.push(`# HELP ${name} Durations`, `# TYPE ${name} histogram`);
    announced.add(name);
    lines.push(...histogram.lines(name, labels));
  }
  return lines;
}
