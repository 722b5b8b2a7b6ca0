import { decodeInt, decodeText } from '#core/cql/value-codec.ts';
import { type TableFacts, toTableFacts } from '#core/model/table-facts.ts';
import type { ControlConnection } from './upstream/control-connection.ts';

const MAX_TABLES = 10_000;

/** Column types of tables, asked for when a shadow write fails, and kept until the schema changes. */
export class SchemaFacts {
  readonly #sources: () => readonly ControlConnection[];
  readonly #known = new Map<string, TableFacts>();

  /** @param sources the connections to ask, in order */
  constructor(sources: () => readonly ControlConnection[]) {
    this.#sources = sources;
  }

  forget(): void {
    this.#known.clear();
  }

  /** What is known already; if nothing is, it is asked for. */
  known(keyspace: string, table: string): TableFacts | undefined {
    const known = this.#known.get(`${keyspace}.${table}`);
    if (!known) void this.of(keyspace, table);
    return known;
  }

  /** undefined: no cluster could say. */
  async of(keyspace: string, table: string): Promise<TableFacts | undefined> {
    const key = `${keyspace}.${table}`;
    const known = this.#known.get(key);
    if (known) return known;
    for (const source of this.#sources()) {
      const facts = await source.columnTypes(keyspace, table).then(toFacts, () => undefined);
      if (!facts) continue;
      if (this.#known.size >= MAX_TABLES) this.#known.clear();
      this.#known.set(key, facts);
      return facts;
    }
    return undefined;
  }
}

function toFacts(rows: readonly (readonly (Buffer | null)[])[]): TableFacts | undefined {
  return toTableFacts(
    rows.map(([name, type, kind, position]) => ({
      name: decodeText(name!),
      type: decodeText(type!),
      kind: decodeText(kind!),
      position: decodeInt(position!),
    })),
  );
}
