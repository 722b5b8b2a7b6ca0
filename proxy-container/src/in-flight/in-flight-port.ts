/** Of a write that is in no list: its phase has no shadow, or nothing can be noted. */
export const NOT_NOTED = -1;

/** What a noted write is, where that decides what becomes of its place after a crash. */
export const PlaceFlag = {
  /** The key is not bound as a whole, or the partitioner is not Murmur3: the place is the table. */
  NO_TOKEN: 1,
  /** Of the same request as the one noted before it. */
  SAME_REQUEST: 2,
  /** The origin is the cluster that gets the copy. */
  ORIGIN_IS_SHADOW: 4,
  COUNTER: 8,
  CONDITIONAL: 16,
  /** Sent to both clusters at once: either may lack it. */
  BOTH_AT_ONCE: 32,
} as const;

/** A table as the log of writes under way names it. */
export interface NotedTable {
  readonly keyspace: string;
  readonly table: string;
  /** In the open file of the log; -1: not named there yet. The log's own. */
  index: number;
}

/** Where a prepared statement writes, found out once. */
export interface UsualPlace {
  readonly table: NotedTable;
  /** The partition key in its order: which marker each value is bound to, or its bytes; none: the key is not known. */
  readonly key: readonly (number | Uint8Array)[];
}

/**
 * Notes which places have writes under way that only one cluster may have, so that a crash leaves a list of them. What is
 * noted in a turn of the event loop is on the disk before the requests and replies of this turn leave.
 * @see docs/correctness.md trap 26
 */
export interface InFlight {
  /** Returns the number of the write, or `NOT_NOTED`. @param hi @param lo halves of the token of its partition */
  begin(table: NotedTable, hi: number, lo: number, flags: number): number;
  /** A further place of the same write. */
  also(sequence: number, table: NotedTable, hi: number, lo: number, flags: number): void;
  /** Both clusters have it, or neither, or it is kept: in the journal, or as a mark. Any number of times. */
  done(sequence: number): void;
}

/** Notes nothing. */
export const NOTHING_NOTED: InFlight = {
  begin: () => NOT_NOTED,
  also: () => undefined,
  done: () => undefined,
};
