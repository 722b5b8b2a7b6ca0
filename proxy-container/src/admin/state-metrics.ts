import { type Phase, phases } from '#core/config/schema.ts';
import { labelText, type MetricDefinition, type MetricSample } from './metric-family.ts';
import type { ProxyStatus } from './status.ts';

/** A metric of what the proxy is doing now, with where its values come from. */
interface StateMetric extends MetricDefinition {
  readonly read: (status: ProxyStatus) => readonly MetricSample[];
}

const one = (value: number): MetricSample[] => [['', value]];
/** Seconds. */
const ageOf = (at: string | null): number => (at === null ? 0 : Math.max(0, (Date.now() - Date.parse(at)) / 1000));

/** What `/status` shows, as numbers. */
export const stateMetrics: readonly StateMetric[] = [
  gauge('ringshift_phase', 'The phase that this proxy acts on: 1', 'max', ['phase'], ({ phase }) =>
    phases.map((name: Phase) => [labelText({ phase: name }), name === phase ? 1 : 0]),
  ),
  gauge('ringshift_epoch', 'The epoch that this proxy acts on', 'min', [], ({ epoch }) => one(epoch)),
  gauge(
    'ringshift_held_requests',
    'Requests that wait for a change of phase, or for the ledger to know their tables',
    'sum',
    [],
    ({ held }) => one(held),
  ),
  gauge('ringshift_held_bytes', 'Memory of these requests', 'sum', [], ({ heldBytes }) => one(heldBytes)),
  gauge('ringshift_draining', 'Whether the proxy stops: 1', 'max', [], ({ isDraining }) => one(isDraining ? 1 : 0)),
  gauge('ringshift_cluster_up', 'Whether a cluster answers: 1', 'min', ['cluster'], ({ clusters }) =>
    clusters.map(({ name, state }) => [labelText({ cluster: name }), state === 'up' ? 1 : 0]),
  ),
  gauge('ringshift_schema_drift', 'Definitions that differ between the clusters', 'max', [], ({ counters }) =>
    one(counters['schemaDrift'] ?? 0),
  ),
  gauge('ringshift_upstream_connections', 'Open connections to a cluster', 'sum', ['cluster'], ({ clusters }) =>
    clusters.map(({ name, connections }) => [labelText({ cluster: name }), connections]),
  ),
  gauge('ringshift_upstream_in_flight', 'Stream ids taken on those connections', 'sum', ['cluster'], ({ clusters }) =>
    clusters.map(({ name, inFlight }) => [labelText({ cluster: name }), inFlight]),
  ),
  gauge('ringshift_prepared_statements', 'Prepared statements known', 'sum', [], ({ preparedStatements }) =>
    one(preparedStatements),
  ),
  gauge('ringshift_prepared_bytes', 'Memory of prepared statements, estimated', 'sum', [], ({ preparedBytes }) =>
    one(preparedBytes),
  ),
  counter('ringshift_prepared_evictions_total', 'Prepared statements that were forgotten for room', (status) =>
    one(status.preparedEvictions),
  ),
  gauge('ringshift_journal_messages', 'Failed copies that wait in the journal', 'sum', [], ({ failedWrites }) =>
    one(failedWrites.journalMessages),
  ),
  gauge('ringshift_journal_bytes', 'Size of the journal', 'sum', [], ({ failedWrites }) =>
    one(failedWrites.journalBytes),
  ),
  gauge(
    'ringshift_failed_writes_set_aside',
    'Failed copies that the queue refuses, kept on the disk',
    'sum',
    [],
    (status) => one(status.failedWrites.setAside),
  ),
  gauge('ringshift_journal_unreadable', 'Messages of the journal that can not be read', 'sum', [], (status) =>
    one(status.failedWrites.unreadable),
  ),
  gauge('ringshift_journal_oldest_seconds', 'Age of the oldest failed copy that waits', 'max', [], (status) =>
    one(ageOf(status.failedWrites.journalOldestAt)),
  ),
  gauge('ringshift_journal_up', 'Whether the disk takes failed copies: 1', 'min', [], ({ failedWrites }) =>
    one(failedWrites.journalError === null ? 1 : 0),
  ),
  gauge('ringshift_sender_up', 'Whether the queue took failed copies last time: 1', 'min', [], ({ failedWrites }) =>
    one(failedWrites.queueError === null ? 1 : 0),
  ),
  counter('ringshift_failed_writes_queued_total', 'Failed copies that the queue has taken', ({ failedWrites }) =>
    one(failedWrites.queued),
  ),
  gauge('ringshift_in_flight_log_open', 'Writes that one cluster may lack yet', 'sum', [], ({ inFlightLog }) =>
    one(inFlightLog.open),
  ),
  gauge('ringshift_in_flight_log_bytes', 'Size of the log of writes under way', 'sum', [], ({ inFlightLog }) =>
    one(inFlightLog.bytes),
  ),
  gauge('ringshift_in_flight_log_blind', 'Whether the disk refuses that log: 1', 'max', [], ({ inFlightLog }) =>
    one(inFlightLog.isBlind ? 1 : 0),
  ),
  gauge('ringshift_in_flight_log_unflushed', 'Whether the disk does not flush that log: 1', 'max', [], (status) =>
    one(status.inFlightLog.flushError === null ? 0 : 1),
  ),
  gauge('ringshift_queue_messages', 'Messages of the queue of failed writes, about', 'max', ['state'], ({ queue }) =>
    Object.entries(queue ?? {}).map(([state, count]) => [labelText({ state }), count]),
  ),
  counter('ringshift_suspect_marks_total', 'Suspect marks, repetitions included', ({ failedWrites }) =>
    one(failedWrites.suspectMarks),
  ),
  gauge('ringshift_suspect_marks_waiting', 'Suspect marks that the ledger does not have yet', 'sum', [], (status) =>
    one(status.failedWrites.suspectMarksWaiting),
  ),
  gauge('ringshift_ledger_away_seconds', 'How long the ledger has been away', 'max', [], ({ ledger }) =>
    one(ledger.awayMs / 1000),
  ),
  gauge(
    'ringshift_filter_rules_stale',
    'Whether the file of the filter rules is not in force: 1',
    'max',
    [],
    (status) => one(status.filterRules.error === null ? 0 : 1),
  ),
  gauge(
    'ringshift_clock_skew_seconds',
    'How far the clock of a cluster differs, either way',
    'max',
    ['cluster'],
    (status) =>
      Object.entries(status.clockSkewMs).map(([cluster, skewMs]) => [labelText({ cluster }), Math.abs(skewMs) / 1000]),
  ),
];

function gauge(
  name: string,
  help: string,
  merge: MetricDefinition['merge'],
  labels: readonly string[],
  read: StateMetric['read'],
): StateMetric {
  return { name, help, type: 'gauge', labels, merge, read };
}

function counter(name: string, help: string, read: StateMetric['read']): StateMetric {
  return { name, help, type: 'counter', labels: [], merge: 'sum', read };
}
