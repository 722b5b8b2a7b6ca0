/**
 * Why a place may differ between the clusters, as marks carry it: gates, reports and metrics go by the code, people read
 * the text beside it.
 */
export const reasonCodes = [
  /** A failed write found no room in the journal. */
  'journal-full',
  /** A failed write is larger than the queue and its overflow take. */
  'too-large',
  /** A write to a counter did not reach the shadow, or perhaps twice; or a validation found counters to differ. */
  'counter',
  /** A write to a list can't be read back. */
  'list',
  /** No cluster said clearly whether it has the write. */
  'unknown-outcome',
  /** A cluster refused a batch that it may have applied in part. */
  'partial',
  /** A conditional write left something whose write time can't be read. */
  'conditional',
  /** What a conditional write left may not be on the other cluster: were that one to answer, it could decide by what it lacks. */
  'conditional-missing',
  /** The write calls a function that the proxy can't evaluate. */
  'function',
  /** A definition (DDL) is on one cluster only. */
  'definition',
  /** A TRUNCATE met a load or a shadow write. */
  'truncate',
  /** Writes of which a process that died had told the primary, and nobody knows of the shadow. */
  'crash-window',
  /** Failures were on the disk of an instance that is gone. */
  'vanished',
  /** A record of the journal can't be read. */
  'torn',
  /** The replay has given a failed write up. */
  'dead-letter',
  /** Tombstones that would stop a failed write may be gone. */
  'too-old',
  /** The shadow's own rights do not permit what the primary's do. */
  'forbidden',
  /** A list has elements with a TTL that a load can't tell apart. */
  'list-expiry',
  /** A write with a TTL came to one cluster so much later than to the other that it may end at another time there. */
  'late-ttl',
  /** A read of both clusters differed. */
  'read-differs',
  /** A validation found rows to differ, or could not settle whether they do. */
  'validation',
  /** None of these, or a record of an older release. */
  'other',
] as const;

export type ReasonCode = (typeof reasonCodes)[number];
