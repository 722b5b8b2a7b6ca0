/** What grouping must know beside the rows, and what it tells of them. */

export interface GroupingOptions {
  /** Whether a deletion of this write time must reach the target. Microseconds. */
  readonly keepsTombstone: (timestampMicros: bigint) => boolean;
  /** List cells of this write time and later are the shadow's and are left out. Microseconds; undefined: none. */
  readonly dualWritesSinceMicros?: bigint;
  /** List cells of this time are perhaps the shadow's and perhaps not: `unclearListCell` is told. Microseconds. */
  readonly isUnclear?: (timestampMicros: bigint) => boolean;
  /** The target takes `now_in_seconds`: what has expired can be written as expired. */
  readonly exactTimes: boolean;
  readonly nowSeconds: () => number;
  /** Told of what CQL can't carry over as it is. */
  readonly onLoss?: (loss: GroupingLoss) => void;
}

/**
 * `shadowedListCell`: left to the shadow. `unclearListCell`: of the time when only some proxies wrote to both clusters.
 * `mixedList`: its cells had several write times or expiries; now they have one write time. `listExpiry`: and they all
 * live as long as the longest, since they took too many turns.
 */
export type GroupingLoss = 'shadowedListCell' | 'unclearListCell' | 'mixedList' | 'listExpiry';
