/** What a write's treatment depends on: which columns a table has, which are its key, and which are stored as several cells. */
export interface TableFacts {
  readonly isCounter: boolean;
  /** Non-frozen lists: the server makes the keys of their elements. */
  readonly lists: ReadonlySet<string>;
  /** Non-frozen collections and UDTs. */
  readonly multiCell: ReadonlySet<string>;
  readonly partitionKey: readonly string[];
  readonly clustering: readonly string[];
  /** Of both, as `system_schema` writes them. */
  readonly keyTypes: ReadonlyMap<string, string>;
  readonly statics: ReadonlySet<string>;
  readonly regulars: ReadonlySet<string>;
  /** `default_time_to_live`; 0: there is none. */
  readonly defaultTtlSeconds: number;
}

/** A row of `system_schema.columns`; key columns have a position, others -1. */
export interface ColumnFact {
  readonly name: string;
  readonly type: string;
  readonly kind: string;
  readonly position: number;
}

const NATIVE =
  /^(ascii|bigint|blob|boolean|counter|date|decimal|double|duration|empty|float|inet|int|smallint|text|time|timestamp|timeuuid|tinyint|uuid|varchar|varint)$/;

/** undefined: there is no such table. */
export function toTableFacts(columns: readonly ColumnFact[], defaultTtlSeconds = 0): TableFacts | undefined {
  if (columns.length === 0) return undefined;
  const ofKind = (kind: string): string[] =>
    columns
      .filter((column) => column.kind === kind)
      .sort((a, b) => a.position - b.position)
      .map(({ name }) => name);
  const named = (isWanted: (type: string) => boolean): Set<string> =>
    new Set(columns.filter(({ type }) => isWanted(type)).map(({ name }) => name));
  return {
    isCounter: columns.some(({ type }) => type === 'counter'),
    lists: named((type) => type.startsWith('list<')),
    multiCell: named(isMultiCellType),
    partitionKey: ofKind('partition_key'),
    clustering: ofKind('clustering'),
    keyTypes: new Map(columns.filter(({ position }) => position >= 0).map(({ name, type }) => [name, type])),
    statics: new Set(ofKind('static')),
    regulars: new Set(ofKind('regular')),
    defaultTtlSeconds,
  };
}

/** A type as `system_schema` writes it; a bare name that is none of the server's own is a UDT. */
function isMultiCellType(type: string): boolean {
  if (/^(list|set|map)</.test(type)) return true;
  return !/^(frozen|tuple|vector)</.test(type) && !type.startsWith("'") && !NATIVE.test(type);
}
