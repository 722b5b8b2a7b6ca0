import type { ClusterName } from '../model/cluster-name.ts';
import type { ReasonCode } from './reasons.ts';

/** A place that may differ between the clusters. */
export interface Mark {
  readonly keyspace: string;
  /** `WHOLE_KEYSPACE`: a definition is on one cluster only. */
  readonly table: string;
  /** Of the partitions; null: the whole table. */
  readonly tokens: readonly bigint[] | null;
  readonly code: ReasonCode;
  /** For people. Never a value of the application. */
  readonly reason: string;
  /** The cluster that may lack something; null: either. */
  readonly lacking: ClusterName | null;
}
