/**
 * What may take how much of `bulkLoad.memoryBudgetMB`. The rest is the runtime's own, the rows that are being merged, the
 * metadata of the open SSTables, and what the sockets hold of the requests.
 */

/** For read windows of one range. */
export function windowBudgetBytes(memoryBudgetBytes: number): number {
  return memoryBudgetBytes / 6;
}

/** For the requests of one range that are in flight. */
export function writeBudgetBytes(memoryBudgetBytes: number): number {
  return memoryBudgetBytes / 16;
}
