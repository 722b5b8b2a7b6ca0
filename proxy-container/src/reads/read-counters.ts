/** What becomes of reads beside their answers; plain fields, as in `Counters`. */
export class ReadCounters {
  /** Further attempts at reads and PREPARE, on another node where there is one. */
  retries = 0;
  /** Of the requests that were tried again, those that then got an answer without an error. */
  retriesSucceeded = 0;
}
