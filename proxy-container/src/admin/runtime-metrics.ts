import { readdirSync, readFileSync } from 'node:fs';
import { labelText, type MetricDefinition, type MetricSample } from './metric-family.ts';
import type { RuntimeWatch } from './runtime-watch.ts';

/** A metric of the process, with where its values come from. */
interface RuntimeMetric extends MetricDefinition {
  readonly read: (watch: RuntimeWatch) => readonly MetricSample[];
}

const one = (value: number): MetricSample[] => [['', value]];

const startedAtSeconds = Date.now() / 1000 - process.uptime();

/** What is measured of the process, by the names that Prometheus clients share; where the system does not tell, nothing. */
export const runtimeMetrics: readonly RuntimeMetric[] = [
  gauge(
    'ringshift_event_loop_delay_seconds',
    'How late timers came since the last scrape',
    ['quantile'],
    'max',
    (watch) => watch.takeLoopDelays().map(([quantile, seconds]) => [labelText({ quantile }), seconds]),
  ),
  gauge(
    'ringshift_event_loop_utilization',
    'Busy share of the event loop since the last scrape, 0 to 1',
    [],
    'max',
    (watch) => one(watch.takeLoopUtilization()),
  ),
  {
    name: 'ringshift_gc_pause_seconds',
    help: 'Pauses of the garbage collection',
    type: 'histogram',
    labels: ['kind'],
    merge: 'sum',
    read: ({ gcPauses }) =>
      Object.entries(gcPauses).flatMap(([kind, pauses]) => pauses.samples(labelText({ kind }).slice(1, -1))),
  },
  {
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the process, user and system',
    type: 'counter',
    labels: [],
    merge: 'sum',
    read: () => {
      const { user, system } = process.cpuUsage();
      return one((user + system) / 1e6);
    },
  },
  gauge('process_start_time_seconds', 'When the process started, since the epoch', [], 'max', () =>
    one(startedAtSeconds),
  ),
  gauge('process_resident_memory_bytes', 'Resident memory', [], 'sum', () => one(process.memoryUsage.rss())),
  gauge('process_open_fds', 'Open file descriptors', [], 'sum', () => openFiles()),
  gauge('process_max_fds', 'How many file descriptors one process may have', [], 'min', () => mostFiles()),
  gauge('nodejs_heap_size_total_bytes', 'Size of the heap', [], 'sum', () => one(process.memoryUsage().heapTotal)),
  gauge('nodejs_heap_size_used_bytes', 'Used part of the heap', [], 'sum', () => one(process.memoryUsage().heapUsed)),
  gauge('nodejs_external_memory_bytes', 'Memory outside of the heap, buffers included', [], 'sum', () =>
    one(process.memoryUsage().external),
  ),
];

function gauge(
  name: string,
  help: string,
  labels: readonly string[],
  merge: MetricDefinition['merge'],
  read: RuntimeMetric['read'],
): RuntimeMetric {
  return { name, help, type: 'gauge', labels, merge, read };
}

/** Linux only. */
function openFiles(): MetricSample[] {
  try {
    return one(readdirSync('/proc/self/fd').length);
  } catch {
    return [];
  }
}

function mostFiles(): MetricSample[] {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return limit === undefined ? [] : one(Number(limit));
  } catch {
    return [];
  }
}
