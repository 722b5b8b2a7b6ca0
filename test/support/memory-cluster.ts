import { type ComparedTable, compareTable } from '#core/checksum/compared-table.ts';
import { serializeKey } from '#core/checksum/selected-row.ts';
import { decodeBigint, decodeInt, encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { clusteringComparators } from '#core/merge/compare-clustering.ts';
import { compareBytes } from '#core/model/compare-value.ts';
import type { BoundValue, ResultPage } from '#core/model/cql-request.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { ClusteringColumn, ColumnDefinition, TableSchema } from '#core/model/table-schema.ts';
import type { BatchEntry, CqlSession, PreparedStatement, RequestOptions } from '#core/ports.ts';
import { classify } from '#core/statement/classify.ts';
import type { BoundTerm, Statement } from '#core/statement/statement.ts';
import { tokenOf } from '#core/token/token.ts';
import { contains } from '#core/token/token-range.ts';

interface MemoryCell {
  readonly at: bigint;
  readonly value: Uint8Array | null;
  readonly expiresAt: number | null;
}

interface MemoryRow {
  readonly key: readonly Uint8Array[];
  readonly clustering: readonly Uint8Array[];
  readonly cells: Map<string, MemoryCell>;
  markerAt: bigint | undefined;
  deletedAt: bigint | undefined;
}

/**
 * One table of a cluster that resolves cells as Cassandra does: newest, then tombstone, then larger value. Speaks just
 * enough CQL for the jobs: the selections of `compareTable`, INSERT, UPDATE, DELETE of a column or a row, batches.
 */
export class MemoryCluster implements CqlSession {
  readonly protocolVersion: number;
  readonly table: ComparedTable;
  /** Texts that changed something, in order. */
  readonly written: string[] = [];
  nowSeconds = 1_800_000_000;
  /** Called before each request; throws to fail it, or changes the data to play a concurrent write. */
  onRequest: (text: string) => void = () => undefined;
  readonly #rows = new Map<string, MemoryRow>();

  constructor(schema: TableSchema, protocolVersion = 4) {
    this.protocolVersion = protocolVersion;
    this.table = compareTable(schema, { elementWriteTimes: false });
  }

  async query(text: string, values: readonly BoundValue[] = [], options: RequestOptions = {}): Promise<ResultPage> {
    this.onRequest(text);
    if (text.includes(' FROM system')) return { columns: [], rows: this.#ofSystem(text) };
    if (text.startsWith('SELECT DISTINCT')) return this.#keysIn(values as Uint8Array[]);
    if (text === this.table.scanText) return this.#scan(values as Uint8Array[], options);
    if (text === this.table.partitionText) {
      const key = hex(values as Uint8Array[]);
      return this.#page((row) => hex(row.key) === key, options);
    }
    this.apply(text, values, options);
    return { columns: [], rows: [] };
  }

  async prepare(text: string): Promise<PreparedStatement> {
    return { text, id: new Uint8Array([1]) };
  }

  execute(
    statement: PreparedStatement,
    values: readonly BoundValue[],
    options: RequestOptions = {},
  ): Promise<ResultPage> {
    return this.query(statement.text, values, options);
  }

  async batch(_kind: string, entries: readonly BatchEntry[], options: RequestOptions = {}): Promise<void> {
    for (const { statement, values } of entries) {
      await this.query(typeof statement === 'string' ? statement : statement.text, values, options);
    }
  }

  async close(): Promise<void> {}

  /** All that a reader can see, comparable with another cluster's. */
  contents(): unknown {
    return this.#visible(() => true).map((row) => this.#selected(row).map((value) => (value ? hex([value]) : null)));
  }

  apply(text: string, values: readonly BoundValue[], options: RequestOptions = {}): void {
    const statement = classify(text);
    const { schema } = this.table;
    const boundValue = (term: BoundTerm | undefined) => (term?.kind === 'marker' ? values[term.index] : undefined);
    const bound = (name: string) => boundValue(statement.boundColumns.get(name));
    const key = schema.partitionKey.map((column) => bound(column.name) as Uint8Array);
    const clustering = schema.clustering.flatMap((column) => bound(column.name) ?? []);
    const usingTimestamp = boundValue(statement.usingTimestamp);
    const at = usingTimestamp ? decodeBigint(usingTimestamp) : options.timestampMicros;
    if (at === undefined) throw new Error(`no timestamp: ${text}`);
    const ttl = boundValue(statement.usingTtl);
    const ttlSeconds = ttl ? decodeInt(ttl) : 0;
    const expiresAt = ttlSeconds > 0 ? (options.nowInSeconds ?? this.nowSeconds) + ttlSeconds : null;
    this.written.push(text);
    const own = new Set([...schema.partitionKey, ...schema.clustering].map((column) => column.name));
    const columns = (statement.kind === 'insert' ? [...statement.boundColumns.keys()] : statement.columns).filter(
      (name) => !own.has(name),
    );
    if (statement.kind === 'insert') this.#mark(this.#rowAt(key, clustering), at);
    if (statement.kind === 'delete' && columns.length === 0) {
      const row = this.#rowAt(key, clustering);
      if (row.deletedAt === undefined || row.deletedAt < at) row.deletedAt = at;
    }
    for (const name of columns) {
      const value = this.#written(statement, name, bound(name), values);
      const isStatic = schema.staticColumns.some((column) => column.name === name);
      this.#set(this.#rowAt(key, isStatic ? [] : clustering), name, { at, value, expiresAt });
    }
  }

  #written(statement: Statement, name: string, insert: BoundValue, values: readonly BoundValue[]): Uint8Array | null {
    if (statement.kind === 'delete') return null;
    if (statement.kind === 'insert') return insert ?? null;
    // UPDATE … SET a = ?, b = ? WHERE …: the columns' markers follow those of USING.
    const using = [statement.usingTimestamp, statement.usingTtl].filter((term) => term?.kind === 'marker').length;
    return values[using + statement.columns.indexOf(name)] ?? null;
  }

  #rowAt(key: readonly Uint8Array[], clustering: readonly Uint8Array[]): MemoryRow {
    const id = `${hex(key)}/${hex(clustering)}`;
    const row = this.#rows.get(id) ?? { key, clustering, cells: new Map(), markerAt: undefined, deletedAt: undefined };
    this.#rows.set(id, row);
    return row;
  }

  #mark(row: MemoryRow, at: bigint): void {
    if (row.markerAt === undefined || row.markerAt < at) row.markerAt = at;
  }

  #set(row: MemoryRow, name: string, cell: MemoryCell): void {
    const old = row.cells.get(name);
    if (!old || wins(cell, old)) row.cells.set(name, cell);
  }

  /** What jobs ask of the schema and of the node. */
  #ofSystem(text: string): (Uint8Array | null)[][] {
    const { schema } = this.table;
    if (text.includes('system.local')) return [[encodeText('4.1.10')]];
    if (text.includes('system_schema.tables')) {
      return [[encodeInt(schema.defaultTimeToLiveSeconds), encodeInt(schema.gcGraceSeconds)]];
    }
    if (!text.includes('system_schema.columns')) return [];
    const row = (kind: string) => (column: ColumnDefinition, position: number) => {
      const isKey = kind === 'partition_key' || kind === 'clustering';
      const order = kind !== 'clustering' ? 'none' : (column as ClusteringColumn).reversed ? 'desc' : 'asc';
      return [
        ...[encodeText(column.name), encodeText(kind), encodeInt(isKey ? position : -1)],
        ...[encodeText(order), encodeText(typeText(column.type))],
      ];
    };
    return [
      ...schema.partitionKey.map(row('partition_key')),
      ...schema.clustering.map(row('clustering')),
      ...schema.staticColumns.map(row('static')),
      ...schema.regularColumns.map(row('regular')),
    ];
  }

  #keysIn([start, end]: readonly Uint8Array[]): ResultPage {
    const [from, to] = [decodeBigint(start!), decodeBigint(end!)];
    const keys = new Map<string, readonly Uint8Array[]>();
    for (const { key } of this.#visible((row) => contains({ start: from, end: to }, tokenOf(serializeKey(row.key))))) {
      keys.set(hex(key), key);
    }
    return { columns: [], rows: [...keys.values()] };
  }

  #scan([start, end]: readonly Uint8Array[], options: RequestOptions): ResultPage {
    const [from, to] = [decodeBigint(start!), decodeBigint(end!)];
    return this.#page((row) => {
      const token = tokenOf(serializeKey(row.key));
      return token > from && token <= to;
    }, options);
  }

  #page(isWanted: (row: MemoryRow) => boolean, { pageSize = 1000, pagingState }: RequestOptions): ResultPage {
    const rows = this.#visible(isWanted);
    const at = pagingState ? decodeInt(pagingState) : 0;
    const more = at + pageSize < rows.length ? { pagingState: encodeInt(at + pageSize) } : {};
    return { columns: [], rows: rows.slice(at, at + pageSize).map((row) => this.#selected(row)), ...more };
  }

  #visible(isWanted: (row: MemoryRow) => boolean): MemoryRow[] {
    const { schema } = this.table;
    const comparators = clusteringComparators(schema.clustering);
    const rows = [...this.#rows.values()].filter((row) => isWanted(row) && this.#isLive(row));
    const partitionsWithRows = new Set(rows.filter((row) => !this.#isStaticRow(row)).map((row) => hex(row.key)));
    return rows
      .filter((row) => !this.#isStaticRow(row) || !partitionsWithRows.has(hex(row.key)))
      .sort((a, b) => {
        const [x, y] = [tokenOf(serializeKey(a.key)), tokenOf(serializeKey(b.key))];
        if (x !== y) return x < y ? -1 : 1;
        const byKey = compareBytes(serializeKey(a.key), serializeKey(b.key));
        if (byKey !== 0) return byKey;
        for (const [i, compare] of comparators.entries()) {
          const order = compare(a.clustering[i] ?? null, b.clustering[i] ?? null);
          if (order !== 0) return order;
        }
        return 0;
      });
  }

  #isStaticRow(row: MemoryRow): boolean {
    return this.table.schema.clustering.length > 0 && row.clustering.length === 0;
  }

  #isLive(row: MemoryRow): boolean {
    const isAlive = (at: bigint | undefined) => at !== undefined && (row.deletedAt === undefined || at > row.deletedAt);
    return isAlive(row.markerAt) || [...row.cells.keys()].some((name) => this.#cell(row, name) !== undefined);
  }

  #cell(row: MemoryRow | undefined, name: string): (MemoryCell & { value: Uint8Array }) | undefined {
    const cell = row?.cells.get(name);
    if (!row || !cell || cell.value === null) return undefined;
    if (row.deletedAt !== undefined && cell.at <= row.deletedAt) return undefined;
    if (cell.expiresAt !== null && cell.expiresAt <= this.nowSeconds) return undefined;
    return { ...cell, value: cell.value };
  }

  #selected(row: MemoryRow): (Uint8Array | null)[] {
    const { schema, columns } = this.table;
    const statics = this.#rows.get(`${hex(row.key)}/`);
    const clustering = schema.clustering.map((_, i) => row.clustering[i] ?? null);
    const selected: (Uint8Array | null)[] = [encodeBigint(tokenOf(serializeKey(row.key))), ...row.key, ...clustering];
    const cells = columns.map((column) => this.#cell(column.isStatic ? statics : row, column.name));
    selected.push(...cells.map((cell) => cell?.value ?? null));
    for (const [i, column] of columns.entries()) {
      if (column.timed === 'none') continue;
      const cell = cells[i];
      const ttl = cell && cell.expiresAt !== null ? encodeInt(cell.expiresAt - this.nowSeconds) : null;
      selected.push(cell ? encodeBigint(cell.at) : null, ttl);
    }
    return selected;
  }
}

// Cells.reconcile: the newer; of one time the tombstone, else the larger value.
function wins(cell: MemoryCell, old: MemoryCell): boolean {
  if (cell.at !== old.at) return cell.at > old.at;
  if (cell.value === null || old.value === null) return cell.value === null;
  return compareBytes(cell.value, old.value) > 0;
}

/** As `system_schema` writes it, of the types that tests use. */
function typeText(type: CqlType): string {
  if (type.kind === 'native') return type.name;
  if (type.kind === 'list' || type.kind === 'set') return `${type.kind}<${typeText(type.element)}>`;
  if (type.kind === 'map') return `map<${typeText(type.key)}, ${typeText(type.value)}>`;
  throw new Error(`no text for a ${type.kind}`);
}

function hex(values: readonly Uint8Array[]): string {
  return values.map((value) => Buffer.from(value).toString('hex')).join(':');
}
