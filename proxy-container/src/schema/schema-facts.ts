import { decodeInt, decodeText } from '#core/cql/value-codec.ts';
import { type TableFacts, toTableFacts } from '#core/model/table-facts.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';

const MAX_TABLES = 10_000;

/** Column types and the default TTL of tables, asked for when a shadow write fails, and kept until the schema changes. */
export class SchemaFacts {
  readonly #sources: () => readonly ControlConnection[];
  #known = new Map<string, TableFacts>();
  /** Of before the last schema changes. */
  readonly #before = new Map<string, TableFacts>();
  /** What is being asked for, so that many writes of a table ask once. */
  #asked = new Map<string, Promise<TableFacts | undefined>>();

  #generation = 0;

  readonly #partitioners: () => readonly (string | undefined)[];
  #isMurmur3: boolean | undefined;

  /**
   * @param sources the connections to ask, in order
   * @param partitioners of both clusters; undefined: that one has not said it yet
   */
  constructor(
    sources: () => readonly ControlConnection[],
    partitioners: () => readonly (string | undefined)[] = () => [],
  ) {
    this.#sources = sources;
    this.#partitioners = partitioners;
  }

  /** Whether a partition has the token of Murmur3 on both clusters, for all that they have said yet. */
  get isMurmur3(): boolean {
    if (this.#isMurmur3 !== undefined) return this.#isMurmur3;
    const said = this.#partitioners();
    const isMurmur3 = said.every((one) => one === undefined || one.endsWith('Murmur3Partitioner'));
    if (!said.includes(undefined)) this.#isMurmur3 = isMurmur3;
    return isMurmur3;
  }

  /** Another number after each schema change. */
  get generation(): number {
    return this.#generation;
  }

  forget(): void {
    this.#generation++;
    if (this.#before.size + this.#known.size > MAX_TABLES) this.#before.clear();
    for (const [table, facts] of this.#known) this.#before.set(table, facts);
    // An answer that is under way may be of the time before; it is kept in the old map, which nobody reads any more.
    this.#known = new Map();
    this.#asked = new Map();
  }

  /** What is known already; if nothing is, it is asked for. */
  known(keyspace: string, table: string): TableFacts | undefined {
    const known = this.#known.get(`${keyspace}.${table}`);
    if (!known) void this.of(keyspace, table);
    return known;
  }

  /** What was known before a schema change, until what is true now is known. */
  knownBefore(keyspace: string, table: string): TableFacts | undefined {
    return this.#before.get(`${keyspace}.${table}`);
  }

  /** undefined: no cluster could say. */
  of(keyspace: string, table: string): Promise<TableFacts | undefined> {
    const key = `${keyspace}.${table}`;
    const known = this.#known.get(key);
    if (known) return Promise.resolve(known);
    const asked = this.#asked;
    let asking = asked.get(key);
    if (!asking) {
      asking = this.#ask(keyspace, table, this.#known).finally(() => asked.delete(key));
      asked.set(key, asking);
    }
    return asking;
  }

  async #ask(keyspace: string, table: string, known: Map<string, TableFacts>): Promise<TableFacts | undefined> {
    for (const source of this.#sources()) {
      const facts = await Promise.all([source.columnTypes(keyspace, table), source.defaultTtl(keyspace, table)]).then(
        ([rows, defaultTtlSeconds]) => toFacts(rows, defaultTtlSeconds),
        () => undefined,
      );
      if (!facts) continue;
      if (known.size >= MAX_TABLES) known.clear();
      known.set(`${keyspace}.${table}`, facts);
      if (known === this.#known) this.#before.delete(`${keyspace}.${table}`);
      return facts;
    }
    return undefined;
  }
}

function toFacts(rows: readonly (readonly (Buffer | null)[])[], defaultTtlSeconds: number): TableFacts | undefined {
  return toTableFacts(
    rows.map(([name, type, kind, position]) => ({
      name: decodeText(name!),
      type: decodeText(type!),
      kind: decodeText(kind!),
      position: decodeInt(position!),
    })),
    defaultTtlSeconds,
  );
}
