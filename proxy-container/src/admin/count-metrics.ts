import type { Counters } from '../counters/counters.ts';
import type { TableCounters } from '../counters/table-counters.ts';
import { labelText, type MetricDefinition, type MetricSample } from './metric-family.ts';

/** A metric of the data path, with where its values come from. */
interface CountMetric extends MetricDefinition {
  readonly read: (counters: Counters) => readonly MetricSample[];
}

type NumericKey = { [K in keyof Counters]: Counters[K] extends number ? K : never }[keyof Counters];
type TableKey = { [K in keyof TableCounters]: TableCounters[K] extends number ? K : never }[keyof TableCounters];

/** What the data path counts. */
export const countMetrics: readonly CountMetric[] = [
  {
    name: 'ringshift_in_flight_log_write_duration_seconds',
    help: 'Of the calls that write the log of writes under way; all clients wait for each',
    type: 'histogram',
    labels: [],
    merge: 'sum',
    read: ({ log }) => log.writeLatency.samples(''),
  },
  {
    name: 'ringshift_in_flight_log_slow_writes_total',
    help: 'Of these calls, those that took longer than 100 ms',
    type: 'counter',
    labels: [],
    merge: 'sum',
    read: ({ log }) => [['', log.slowWrites]],
  },
  {
    name: 'ringshift_recovered_places_total',
    help: 'Partitions that a process which died had writes under way for, by what became of them',
    type: 'counter',
    labels: ['kind'],
    merge: 'sum',
    read: ({ log }) => Object.entries(log.recovered).map(([kind, count]) => [labelText({ kind }), count]),
  },
  gauge('ringshift_client_connections', 'Clients connected now', 'clientConnections'),
  counter('ringshift_client_connections_total', 'Clients that ever connected', 'clientConnectionsTotal'),
  counter('ringshift_clients_refused_total', 'Clients that came when proxy.maxClients were there', 'clientsRefused'),
  {
    name: 'ringshift_client_backlog_bytes',
    help: 'Answers that clients have not read',
    type: 'gauge',
    labels: [],
    merge: 'sum',
    read: ({ backlog }) => [['', backlog.byteCount]],
  },
  counter('ringshift_answers_withheld_total', 'Answers for which a client had no room', 'answersWithheld'),
  counter('ringshift_slow_clients_closed_total', 'Clients closed for not reading answers', 'slowClientsClosed'),
  counter('ringshift_requests_total', 'Reads and writes of clients', 'kind', { read: 'reads', write: 'writes' }),
  gauge('ringshift_requests_in_flight', 'Reads and writes without an answer yet', 'kind', {
    read: 'inFlightReads',
    write: 'inFlightWrites',
  }),
  {
    name: 'ringshift_request_duration_seconds',
    help: 'From a request to its answer, by what it is and the cluster that answered',
    type: 'histogram',
    labels: ['kind', 'cluster'],
    merge: 'sum',
    read: ({ latencies }) =>
      Object.entries(latencies).flatMap(([kind, by]) => [
        ...by.origin.samples(`kind="${kind}",cluster="origin"`),
        ...by.target.samples(`kind="${kind}",cluster="target"`),
      ]),
  },
  counter('ringshift_failed_reads_total', 'Reads without an answer of the cluster', 'cluster', {
    origin: 'failedReadsOrigin',
    target: 'failedReadsTarget',
  }),
  counter('ringshift_failed_writes_total', 'Writes that a cluster did not take', 'failed_on', {
    origin: 'failedWritesOrigin',
    target: 'failedWritesTarget',
    both: 'failedWritesBoth',
  }),
  counter('ringshift_failed_connections_total', 'Connections to a node that were not made', 'cluster', {
    origin: 'failedConnectionsOrigin',
    target: 'failedConnectionsTarget',
  }),
  {
    name: 'ringshift_cluster_errors_total',
    help: 'Errors that a cluster answered with, and requests that it did not answer in time',
    type: 'counter',
    labels: ['cluster', 'error'],
    merge: 'sum',
    read: ({ errors }) =>
      (['origin', 'target'] as const).flatMap((cluster) =>
        [...errors[cluster].counts].map(([error, count]) => [labelText({ cluster, error }), count] as const),
      ),
  },
  counter('ringshift_protocol_errors_total', 'Frames that broke the protocol', 'protocolErrors'),
  counter('ringshift_internal_errors_total', 'Faults of the proxy itself, each of one request', 'internalErrors'),
  counter('ringshift_overloaded_total', 'Requests refused with OVERLOADED', 'overloaded'),
  counter('ringshift_request_timeouts_total', 'Requests without a reply of the cluster', 'requestTimeouts'),
  counter('ringshift_prepared_misses_total', 'EXECUTE of statements that this process does not know', 'preparedMisses'),
  reading('ringshift_retries_total', 'Further attempts at reads and PREPARE, on another node', 'retries'),
  reading(
    'ringshift_retries_succeeded_total',
    'Of those requests, the ones that then got an answer',
    'retriesSucceeded',
  ),
  reading('ringshift_read_copies_total', 'Reads that went to the other cluster as well', 'copies'),
  {
    name: 'ringshift_read_copies_in_flight',
    help: 'Copies of reads under way',
    type: 'gauge',
    labels: [],
    merge: 'sum',
    read: ({ reading }) => [['', reading.copiesInFlight]],
  },
  {
    name: 'ringshift_compared_reads_total',
    help: 'Compared reads by result: settled ones were late on one side, unsettled ones kept changing',
    type: 'counter',
    labels: ['result'],
    merge: 'sum',
    read: ({ reading }) =>
      (['equal', 'settled', 'different', 'unsettled'] as const).map((result) => [
        labelText({ result }),
        reading[result],
      ]),
  },
  {
    name: 'ringshift_reads_not_compared_total',
    help: 'Copies of reads that could not be compared, by reason',
    type: 'counter',
    labels: ['reason'],
    merge: 'sum',
    read: ({ reading }) =>
      Object.entries(reading.notCompared).map(([reason, count]) => [labelText({ reason }), count] as const),
  },
  counter('ringshift_reprepared_total', 'Statements prepared again on a node that had forgotten them', 'reprepared'),
  counter('ringshift_filtered_writes_total', 'Writes that a filter keeps on the origin', 'filteredWrites'),
  counter('ringshift_pinned_timestamps_total', 'Writes that got their timestamp here', 'pinnedTimestamps'),
  counter(
    'ringshift_definitions_not_copied_total',
    'Schema changes that are on one cluster only',
    'definitionsNotCopied',
  ),
  counter('ringshift_shadow_writes_total', 'Copies to the shadow, by outcome', 'outcome', {
    succeeded: 'shadowSucceeded',
    failed: 'shadowFailed',
  }),
  {
    name: 'ringshift_shadow_duration_seconds',
    help: 'From a copy to its answer, by the cluster it went to',
    type: 'histogram',
    labels: ['cluster'],
    merge: 'sum',
    read: ({ shadowLatency }) => [
      ...shadowLatency.origin.samples('cluster="origin"'),
      ...shadowLatency.target.samples('cluster="target"'),
    ],
  },
  counter('ringshift_shadow_timeouts_total', 'Copies without a reply in time', 'shadowTimeouts'),
  counter('ringshift_shadow_overflows_total', 'Copies that found no room', 'shadowOverflows'),
  counter('ringshift_shadow_unqueueable_total', 'Failed copies that may not be replayed', 'shadowUnqueueable'),
  gauge('ringshift_shadow_in_flight', 'Copies under way', 'shadowInFlight'),
  gauge('ringshift_shadow_bytes', 'Memory of copies under way', 'shadowBytes'),
  {
    name: 'ringshift_shadow_lag_seconds',
    help: 'Age of the oldest copy under way',
    type: 'gauge',
    labels: [],
    merge: 'max',
    read: ({ shadows }) => [['', shadows.lag(performance.now()).allMs / 1000]],
  },
  counter('ringshift_journaled_writes_total', 'Failed copies written to the journal', 'journaled'),
  counter('ringshift_journal_full_total', 'Failed copies that found the journal full', 'journalFull'),
  table('ringshift_table_writes_total', 'Writes that the primary took', 'writes'),
  table('ringshift_table_shadow_failures_total', 'Copies that did not arrive, whatever became of them', 'shadowFailed'),
  table('ringshift_table_shadow_unqueueable_total', 'Failed copies that may not be replayed', 'unqueueable'),
  table('ringshift_table_reads_compared_total', 'Reads whose answers of both clusters were compared', 'readsCompared'),
  table('ringshift_table_divergences_total', 'Compared reads whose answers differed', 'divergences'),
  table('ringshift_table_read_backs_total', 'Rows read again after a conditional write', 'readBacks'),
  table('ringshift_table_counter_losses_total', 'Additions to counters that one cluster lacks', 'counterLosses'),
  {
    name: 'ringshift_table_shadow_lag_seconds',
    help: 'Age of the oldest copy under way',
    type: 'gauge',
    labels: ['keyspace', 'table'],
    merge: 'max',
    read: ({ shadows, tables }) => {
      const { byTableMs } = shadows.lag(performance.now());
      return tables.all.map((one) => [nameOf(one), (byTableMs.get(one) ?? 0) / 1000]);
    },
  },
];

function counter(name: string, help: string, key: NumericKey): CountMetric;
function counter(name: string, help: string, label: string, keys: Readonly<Record<string, NumericKey>>): CountMetric;
function counter(name: string, help: string, key: string, keys?: Readonly<Record<string, NumericKey>>): CountMetric {
  return numbers('counter', name, help, key, keys);
}

function gauge(name: string, help: string, key: NumericKey): CountMetric;
function gauge(name: string, help: string, label: string, keys: Readonly<Record<string, NumericKey>>): CountMetric;
function gauge(name: string, help: string, key: string, keys?: Readonly<Record<string, NumericKey>>): CountMetric {
  return numbers('gauge', name, help, key, keys);
}

/** One number, or one for each value of a label. */
function numbers(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  key: string,
  keys: Readonly<Record<string, NumericKey>> | undefined,
): CountMetric {
  const series: readonly (readonly [string, NumericKey])[] = keys
    ? Object.entries(keys).map(([value, one]) => [labelText({ [key]: value }), one])
    : [['', key as NumericKey]];
  return {
    name,
    help,
    type,
    labels: keys ? [key] : [],
    merge: 'sum',
    read: (counters) => series.map(([labels, one]) => [labels, counters[one]]),
  };
}

function reading(name: string, help: string, key: 'retries' | 'retriesSucceeded' | 'copies'): CountMetric {
  const read: CountMetric['read'] = ({ reading: one }) => [['', one[key]]];
  return { name, help, type: 'counter', labels: [], merge: 'sum', read };
}

function table(name: string, help: string, key: TableKey): CountMetric {
  return {
    name,
    help: `${help}, by table`,
    type: 'counter',
    labels: ['keyspace', 'table'],
    merge: 'sum',
    read: ({ tables }) => tables.all.map((one) => [nameOf(one), one[key]]),
  };
}

const nameOf = ({ keyspace, table }: TableCounters): string => labelText({ keyspace, table });
