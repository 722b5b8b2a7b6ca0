import { LatencyHistogram } from '../counters/latency.ts';

/** What is counted of the log of writes under way. */
export class LogCounters {
  /** Of the calls that write a turn; all clients wait for each. */
  readonly writeLatency = new LatencyHistogram();
  /** Of them, those that took longer than 100 ms. */
  slowWrites = 0;
  /** Places of a process that died: brought to the journal, or marked. */
  readonly recovered = { copied: 0, marked: 0 };
}
