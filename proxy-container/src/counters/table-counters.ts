/** The tables that have counters of their own; what comes later is counted together, as `other`. */
const MAX_TABLES = 1000;
/** Keyspace and name of what stands for all further tables. */
export const OTHER_TABLES = 'other';
/** Longer names are no table's: Cassandra allows 48 and 222 characters. */
const MAX_NAME_LENGTH = 222;

/** What is counted of one table; plain fields, because every write adds to one. */
export class TableCounters {
  readonly keyspace: string;
  readonly table: string;
  /** That the primary took. */
  writes = 0;
  /** Copies that did not arrive, whatever became of them. */
  shadowFailed = 0;
  /** Of those, the ones that may not be sent again, so that the table is suspect. */
  unqueueable = 0;
  /** Reads whose answers of both clusters were compared. */
  readsCompared = 0;
  /** Of those, the ones whose answers differed. */
  divergences = 0;
  /** Rows that were read again on the primary after a conditional write (LWT), to be written to the shadow. */
  readBacks = 0;
  /** Additions to counters that one cluster has and the other one lacks. */
  counterLosses = 0;

  constructor(keyspace: string, table: string) {
    this.keyspace = keyspace;
    this.table = table;
  }
}

/**
 * The counters of each table, made at first use. Their number is bounded, as names come from clients: ask only for tables
 * that a cluster is known to have.
 */
export class TableRegistry {
  readonly #maxTables: number;
  readonly #byKeyspace = new Map<string, Map<string, TableCounters>>();
  readonly #all: TableCounters[] = [];
  #other: TableCounters | undefined;

  constructor(maxTables: number = MAX_TABLES) {
    this.#maxTables = maxTables;
  }

  /** All that were asked for, `other` last. */
  get all(): readonly TableCounters[] {
    return this.#other ? [...this.#all, this.#other] : this.#all;
  }

  of(keyspace: string | undefined, table: string | undefined): TableCounters {
    if (keyspace === undefined || table === undefined) return this.#rest();
    return this.#byKeyspace.get(keyspace)?.get(table) ?? this.#add(keyspace, table);
  }

  #add(keyspace: string, table: string): TableCounters {
    const isTooLong = keyspace.length > MAX_NAME_LENGTH || table.length > MAX_NAME_LENGTH;
    if (isTooLong || this.#all.length >= this.#maxTables) return this.#rest();
    const added = new TableCounters(keyspace, table);
    const tables = this.#byKeyspace.get(keyspace) ?? new Map<string, TableCounters>();
    this.#byKeyspace.set(keyspace, tables.set(table, added));
    this.#all.push(added);
    return added;
  }

  #rest(): TableCounters {
    this.#other ??= new TableCounters(OTHER_TABLES, OTHER_TABLES);
    return this.#other;
  }
}
