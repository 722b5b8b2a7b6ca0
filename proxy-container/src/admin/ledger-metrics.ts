import type { Counters } from '../counters/counters.ts';
import { labelText, type MetricDefinition, type MetricSample } from './metric-family.ts';

interface LedgerMetric extends MetricDefinition {
  readonly read: (counters: Counters) => readonly MetricSample[];
}

/** What this process asks the ledger's store for. */
export const ledgerMetrics: readonly LedgerMetric[] = [
  {
    name: 'ringshift_ledger_operations_total',
    help: 'Operations of the ledger, by what became of them',
    type: 'counter',
    labels: ['op', 'outcome'],
    merge: 'sum',
    read: ({ ledger }) =>
      ledger.outcomes.map(({ operation, outcome, count }) => [labelText({ op: operation, outcome }), count]),
  },
  {
    name: 'ringshift_ledger_operation_duration_seconds',
    help: 'How long they took; of lists, without what was done between two records',
    type: 'histogram',
    labels: ['op'],
    merge: 'sum',
    read: ({ ledger }) =>
      [...ledger.latencies].flatMap(([operation, histogram]) => histogram.samples(`op="${operation}"`)),
  },
  {
    name: 'ringshift_ledger_conflicts_total',
    help: 'Of them, the changes that came second to another one',
    type: 'counter',
    labels: [],
    merge: 'sum',
    read: ({ ledger }) => [['', ledger.conflicts]],
  },
];
