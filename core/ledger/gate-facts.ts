/** What the gates of a change of phase are asked about; collected by `core/jobs/gate-facts.ts`. */
import type { ClusterName } from '../model/cluster-name.ts';
import type { PhaseRecord, ProxyRecord, RunRecord, SuspectRecord, TableRecord } from './records.ts';
import type { ReplayState } from './replay-state.ts';
import type { SavedIndexes } from './saved-indexes.ts';

export interface SeenTable {
  readonly keyspace: string;
  readonly table: string;
}

/** Both clusters at one moment. */
export interface ClustersSeen {
  /** Of the origin, in the keyspaces that the gates look at. */
  readonly tables: readonly SeenTable[];
  /** The gates look at all keyspaces that a migration moves. */
  readonly isEveryKeyspace: boolean;
  readonly differences: readonly (SeenTable & {
    readonly message: string;
    /** The cluster that lacks something; null: they contradict each other. */
    readonly lacking: ClusterName | null;
  })[];
  readonly clocks: readonly {
    readonly cluster: ClusterName;
    readonly node: string;
    /** Positive: ahead of whoever looked. null: it could not be asked. Milliseconds. */
    readonly skewMs: number | null;
  }[];
  readonly away: readonly { readonly cluster: ClusterName; readonly error: string }[];
}

export interface QueueDepthSeen {
  readonly waiting: number;
  readonly inFlight: number;
  readonly deadLetters: number;
}

/** One look into the queue of failed writes, or why there was none. */
export type QueueLook = QueueDepthSeen | { readonly error: string };

export interface GateLimits {
  readonly quietMinutes: number;
  readonly maxQueueAgeSecs: number;
  readonly maxSkewMs: number;
}

export interface GateFacts {
  readonly now: Date;
  /** When the collecting began: a failure since then counts, however short the quiet time is. */
  readonly since: Date;
  readonly phase: PhaseRecord;
  readonly proxies: readonly ProxyRecord[];
  /** The caller's word that there is none. */
  readonly withoutProxies: boolean;
  readonly tables: readonly TableRecord[];
  readonly marks: readonly SuspectRecord[];
  readonly loads: readonly RunRecord[];
  /** Of loads, not given back. */
  readonly owed: readonly SavedIndexes[];
  readonly replay: ReplayState;
  /** One after the other; none: there is no queue, or it does not matter. */
  readonly queue: readonly QueueLook[];
  /** undefined: they do not matter. */
  readonly clusters: ClustersSeen | undefined;
  /** When a copy to each cluster failed the last time, at any instance. */
  readonly lastShadowFailureAt: Partial<Record<ClusterName, string>>;
  /** Filter rules keep data on the origin. */
  readonly hasFilterRules: boolean;
  /** The caller gives that data up. */
  readonly abandonFiltered: boolean;
  /** Whether the filter leaves a table on the origin. */
  readonly isExcluded: (keyspace: string, table: string) => boolean;
  readonly limits: GateLimits;
}
