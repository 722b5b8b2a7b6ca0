/** What a validation counts of a range. */

/** Counts of a range, as the ledger's record holds them. */
export interface ValidationCounts extends Record<string, number> {
  partitions: number;
  originRows: number;
  targetRows: number;
  /** Partitions that differ, judged by two readings. */
  differing: number;
  onlyInOrigin: number;
  onlyInTarget: number;
  /** Looked different at first and the same later: a write was on its way. */
  inFlight: number;
  /** Changed between every two readings; what is older than the settle time agrees. */
  unsettled: number;
  /** Differing partitions beyond the bound: counted, neither judged by a second reading nor listed. */
  unlisted: number;
  /** Differences files written. */
  parts: number;
}

export function emptyCounts(): ValidationCounts {
  return {
    partitions: 0,
    originRows: 0,
    targetRows: 0,
    differing: 0,
    onlyInOrigin: 0,
    onlyInTarget: 0,
    inFlight: 0,
    unsettled: 0,
    unlisted: 0,
    parts: 0,
  };
}
