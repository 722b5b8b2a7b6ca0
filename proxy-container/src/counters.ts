import { LatencyHistogram } from './latency.ts';
import { ReadCounters } from './reads/read-counters.ts';

/** What the data path counts; plain fields, because they are touched for every request. */
export class Counters {
  readonly startedAtMs = Date.now();
  clientConnections = 0;
  clientConnectionsTotal = 0;
  reads = 0;
  writes = 0;
  inFlightReads = 0;
  inFlightWrites = 0;
  failedReadsOrigin = 0;
  failedReadsTarget = 0;
  failedWritesOrigin = 0;
  failedWritesTarget = 0;
  failedWritesBoth = 0;
  failedConnectionsOrigin = 0;
  failedConnectionsTarget = 0;
  protocolErrors = 0;
  /** Requests and handlers that failed by a fault of the proxy itself. */
  internalErrors = 0;
  overloaded = 0;
  requestTimeouts = 0;
  filteredWrites = 0;
  preparedMisses = 0;
  reprepared = 0;
  shadowSent = 0;
  shadowSucceeded = 0;
  shadowFailed = 0;
  shadowTimeouts = 0;
  shadowOverflows = 0;
  shadowUnqueueable = 0;
  shadowInFlight = 0;
  shadowBytes = 0;
  journaled = 0;
  journalFull = 0;
  pinnedTimestamps = 0;
  definitionsNotCopied = 0;
  readonly reading = new ReadCounters();
  readonly readsOrigin = new LatencyHistogram();
  readonly readsTarget = new LatencyHistogram();
  readonly writeLatency = new LatencyHistogram();
  readonly shadowLatency = new LatencyHistogram();

  /** For the ledger's record of this proxy. */
  summary(): Record<string, number> {
    const { reads, writes, filteredWrites, shadowSucceeded, shadowFailed, journaled, clientConnections } = this;
    return { reads, writes, filteredWrites, shadowSucceeded, shadowFailed, journaled, clientConnections };
  }
}
