/** Why a read was not compared: counted by name, so that a comparison of nothing does not look like success. */
export type NotCompared =
  /** now(), WRITETIME, TTL, somebody's own function, JSON, ANN: the results may differ where the data do not. */
  | 'statement'
  /** A later page, or first rows where the clusters' orders of tokens differ. */
  | 'partial'
  /** A filter keeps rows on the origin that the answer may hold. */
  | 'filtered'
  /** The other cluster does not let this client read there. */
  | 'unauthorized'
  /** The other cluster gave no rows: an error, a time-out, no connection. */
  | 'failed'
  /** The tables differ in names or types of columns. */
  | 'columns'
  /** The answer is too large to be kept and looked at. */
  | 'tooLarge'
  /** Too many copies are under way. */
  | 'dropped';

/** What becomes of reads beside their answers; plain fields, as in `Counters`. */
export class ReadCounters {
  /** Further attempts at reads and PREPARE, on another node where there is one. */
  retries = 0;
  /** Of the requests that were tried again, those that then got an answer without an error. */
  retriesSucceeded = 0;
  /** Reads that were copied to the other cluster. */
  copies = 0;
  copiesInFlight = 0;
  /** Memory that copies hold. Bytes. */
  copyBytes = 0;
  equal = 0;
  /** Differed at first, and were equal when both clusters were asked again: one of them was late. */
  settled = 0;
  /** Differed, and still do while neither side changes. */
  different = 0;
  /** Differed, and were not judged: the rows kept changing, or too many others waited to be judged. */
  unsettled = 0;
  readonly notCompared: Record<NotCompared, number> = {
    statement: 0,
    partial: 0,
    filtered: 0,
    unauthorized: 0,
    failed: 0,
    columns: 0,
    tooLarge: 0,
    dropped: 0,
  };
}
