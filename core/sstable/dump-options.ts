/**
 * How it is printed: one JSON document; a JSON object on a line for each partition (`sstabledump -l`); only the keys
 * (`-e`); a line in Cassandra's internal form for each row (`-d`).
 */
export type DumpForm = 'document' | 'lines' | 'keys' | 'rows';

/** Whose sstabledump the shape is of: 5.0 added the kind of table and counts the position of a partition otherwise. */
export type DumpRelease = '4.1' | '5.0';

export interface DumpOptions {
  readonly form: DumpForm;
  readonly release: DumpRelease;
  /** Times as numbers of microseconds or seconds, like `sstabledump -t`; else ISO 8601. */
  readonly rawTimestamps?: boolean;
  /** The sum of a counter's shards instead of what sstabledump shows: the first eight bytes of its context. */
  readonly counterTotals?: boolean;
  /** Decides what has expired. Seconds since the epoch. */
  readonly nowSeconds: number;
  /** Which partitions, by the text of their key (`a:b` of several columns). Default: all. */
  readonly isWanted?: (key: string) => boolean;
  readonly signal?: AbortSignal;
}
