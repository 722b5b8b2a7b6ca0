import { decodeText } from '#core/cql/value-codec.ts';
import type { ControlConnection } from './upstream/control-connection.ts';

/** What decides whether a write may be sent twice. */
export interface TableFacts {
  readonly isCounter: boolean;
  /** Non-frozen lists: the server makes the keys of their elements. */
  readonly lists: ReadonlySet<string>;
}

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
  if (rows.length === 0) return undefined;
  const columns = rows.map(([name, type]) => ({ name: decodeText(name!), type: decodeText(type!) }));
  return {
    isCounter: columns.some(({ type }) => type === 'counter'),
    lists: new Set(columns.flatMap(({ name, type }) => (type.startsWith('list<') ? [name] : []))),
  };
}
