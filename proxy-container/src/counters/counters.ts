import { LogCounters } from '../in-flight/log-counters.ts';
import { ReadCounters } from '../reads/read-counters.ts';
import { ClientBacklog } from '../transport/client-backlog.ts';
import { ShadowQueue } from '../writes/shadow-queue.ts';
import { ClusterErrors } from './cluster-errors.ts';
import { LatencyHistogram } from './latency.ts';
import { LedgerCounters } from './ledger-counters.ts';
import { type TableCounters, TableRegistry } from './table-counters.ts';

/** What clients ask for, as far as its durations are told apart. */
export type RequestKind = 'read' | 'write' | 'prepare' | 'definition';

/** Durations of requests of clients, by the cluster that answered. */
export type Latencies = Readonly<
  Record<RequestKind, { readonly origin: LatencyHistogram; readonly target: LatencyHistogram }>
>;

/** What the data path counts; plain fields, because they are touched for every request. */
export class Counters {
  readonly startedAtMs = Date.now();
  clientConnections = 0;
  clientConnectionsTotal = 0;
  /** Clients that came when there were as many as there may be. */
  clientsRefused = 0;
  /** Clients that were closed because they do not read what they asked for. */
  slowClientsClosed = 0;
  /** Answers in whose place such a client was told OVERLOADED. */
  answersWithheld = 0;
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
  readonly log = new LogCounters();
  readonly ledger = new LedgerCounters();
  definitionsNotCopied = 0;
  /** Tables, types, indexes, views and functions that differ between the clusters; 0 while one is not in use. */
  schemaDrift = 0;
  readonly reading = new ReadCounters();
  readonly latencies: Latencies = { read: pair(), write: pair(), prepare: pair(), definition: pair() };
  readonly readsOrigin = this.latencies.read.origin;
  readonly readsTarget = this.latencies.read.target;
  readonly shadowLatency = pair();
  readonly errors = { origin: new ClusterErrors(), target: new ClusterErrors() };
  readonly shadows = new ShadowQueue();
  readonly backlog = new ClientBacklog({ onClosed: () => this.slowClientsClosed++ });
  readonly tables = new TableRegistry();

  /**
   * The counters of one table. One look-up: for what is unusual; the usual write keeps them with its statement.
   * @see countWrites
   */
  table(keyspace: string | undefined, table: string | undefined): TableCounters {
    return this.tables.of(keyspace, table);
  }

  /** For the ledger's record of this proxy. */
  summary(): Record<string, number> {
    const { reads, writes, filteredWrites, shadowSucceeded, shadowFailed, journaled, clientConnections } = this;
    return { reads, writes, filteredWrites, shadowSucceeded, shadowFailed, journaled, clientConnections };
  }
}

function pair() {
  return { origin: new LatencyHistogram(), target: new LatencyHistogram() };
}
