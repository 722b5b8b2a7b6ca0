import type { Phase } from '#core/config/schema.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { ShownReads } from '../reads/dual-reads.ts';

/** What `/status` shows. */
export interface ProxyStatus {
  readonly instance: string;
  /** Number of the process; of a host with several, the host's. */
  readonly pid: number;
  readonly startedAt: string;
  readonly phase: Phase;
  readonly epoch: number;
  /** New requests wait for a change of phase. */
  readonly isHolding: boolean;
  /** Requests that wait for it. */
  readonly held: number;
  readonly heldBytes: number;
  readonly isListening: boolean;
  /** It was told to stop. */
  readonly isDraining: boolean;
  readonly inFlight: number;
  readonly clients: number;
  readonly preparedStatements: number;
  /** Their memory, estimated. */
  readonly preparedBytes: number;
  /** Those that were forgotten for room. */
  readonly preparedEvictions: number;
  readonly protocolVersion: number;
  readonly clusters: readonly {
    readonly name: ClusterName;
    readonly role: 'primary' | 'shadow' | 'unused';
    readonly state: string;
    readonly connections: number;
    readonly inFlight: number;
    readonly hosts: readonly string[];
    readonly error: string | null;
  }[];
  readonly failedWrites: {
    /** Failed copies that wait for the queue. */
    readonly journalMessages: number;
    readonly journalBytes: number;
    /** When the oldest of them failed; null: none waits. */
    readonly journalOldestAt: string | null;
    /** Why the disk does not take failed copies; null: it does. */
    readonly journalError: string | null;
    /** Messages of the journal that can't be read; they stay in it, and their tables are marked. */
    readonly unreadable: number;
    /** Messages that the queue never took; they stay in the journal, and their tables are marked. */
    readonly setAside: number;
    /** Failed copies that the queue has taken since the start. */
    readonly queued: number;
    readonly queueError: string | null;
    /** null: the queue has taken nothing since the start. */
    readonly lastQueuedAt: string | null;
    readonly suspectMarks: number;
    readonly suspectMarksWaiting: number;
  };
  /** The log of writes under way. */
  readonly inFlightLog: {
    readonly open: number;
    /** On the disk. */
    readonly bytes: number;
    /** The disk takes nothing: what is written is marked, table by table. */
    readonly isBlind: boolean;
    /** Why the disk does not flush what it takes: a loss of power may cost more than the last moment; null: it does. */
    readonly flushError: string | null;
  };
  /** Of the queue of failed writes, about; null while unknown. */
  readonly queue: Readonly<Record<'waiting' | 'in_flight' | 'dead', number>> | null;
  /** What was done with reads beside answering them. */
  readonly reads: ShownReads;
  readonly ledger: { readonly awayMs: number; readonly error: string | null };
  /** Why the rules in force are not those of their file; null: they are. */
  readonly filterRules: { readonly error: string | null };
  readonly clockSkewMs: Readonly<Record<string, number>>;
  readonly counters: Readonly<Record<string, number>>;
  /** Of a host with several processes: each of them. */
  readonly processes?: readonly ProxyStatus[];
}

/** Whether the proxy should get traffic, and why not. */
export function readinessOf(status: ProxyStatus, maxSkewMs: number): readonly string[] {
  const reasons: string[] = [];
  if (status.isDraining) reasons.push('the proxy is shutting down');
  if (!status.isListening) reasons.push('the proxy does not listen');
  for (const cluster of status.clusters) {
    if (cluster.role === 'primary' && cluster.state !== 'up') reasons.push(`the ${cluster.name} is ${cluster.state}`);
  }
  for (const [cluster, skewMs] of Object.entries(status.clockSkewMs)) {
    if (Math.abs(skewMs) > maxSkewMs) reasons.push(`the clock of the ${cluster} differs by ${Math.round(skewMs)} ms`);
  }
  return reasons;
}
