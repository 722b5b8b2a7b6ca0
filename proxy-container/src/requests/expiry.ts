import { mayExpire } from '#core/statement/may-expire.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { RequestStatement } from './client-request.ts';
import type { PreparedEntry } from './prepared-statements.ts';

/** A table that nobody can describe is not asked for at every write. */
const ASK_AGAIN_MS = 1000;

/** Whether what requests write may expire. Where a table is not known yet, it may. */
export class Expiry {
  readonly #schema: Pick<SchemaFacts, 'known' | 'of' | 'generation'>;

  constructor(schema: Pick<SchemaFacts, 'known' | 'of' | 'generation'>) {
    this.#schema = schema;
  }

  /** Of a prepared statement; kept in its entry until a schema changes. */
  ofEntry(entry: PreparedEntry, keyspaceInForce: string | undefined): boolean {
    const { generation } = this.#schema;
    const { expiryUntilMs } = entry;
    const isFresh = expiryUntilMs === Number.POSITIVE_INFINITY || performance.now() < expiryUntilMs;
    if (entry.expiryAsOf === generation && isFresh) return entry.mayExpire;
    const found = this.#find({ statement: entry.statement, entry }, keyspaceInForce);
    entry.mayExpire = found ?? true;
    entry.expiryAsOf = generation;
    entry.expiryUntilMs = found === undefined ? performance.now() + ASK_AGAIN_MS : Number.POSITIVE_INFINITY;
    return entry.mayExpire;
  }

  /** Of any statements. */
  ofAny(statements: readonly RequestStatement[], keyspaceInForce: string | undefined): boolean {
    return statements.some((one) =>
      one.entry ? this.ofEntry(one.entry, keyspaceInForce) : (this.#find(one, keyspaceInForce) ?? true),
    );
  }

  /** The same by what is known at this moment, and not by what was guessed a while ago; undefined: nothing is known. */
  ofAnyNow(statements: readonly RequestStatement[], keyspaceInForce: string | undefined): boolean | undefined {
    const found = statements.map((one) => this.#find(one, keyspaceInForce));
    return found.includes(true) ? true : found.includes(undefined) ? undefined : false;
  }

  /** The same once the tables have been asked for; where nobody can say, they may. Never rejects. */
  async ofAnyOnceKnown(statements: readonly RequestStatement[], keyspaceInForce: string | undefined): Promise<boolean> {
    const asked = new Map<string, Promise<number | undefined>>();
    const answers = new Map<string, number | undefined>();
    const find = () =>
      statements.map((one) =>
        this.#find(one, keyspaceInForce, (keyspace, table) => {
          const name = JSON.stringify([keyspace, table]);
          if (!answers.has(name) && !asked.has(name)) asked.set(name, this.#ask(keyspace, table));
          return answers.get(name);
        }),
      );
    find();
    for (const [name, answer] of asked) answers.set(name, await answer);
    return find().some((found) => found ?? true);
  }

  #ask(keyspace: string, table: string): Promise<number | undefined> {
    return this.#schema.of(keyspace, table).then(
      (facts) => facts?.defaultTtlSeconds,
      () => undefined,
    );
  }

  #find(
    { statement, entry }: RequestStatement,
    keyspaceInForce: string | undefined,
    defaultTtlOf = (keyspace: string, table: string) => this.#schema.known(keyspace, table)?.defaultTtlSeconds,
  ): boolean | undefined {
    return mayExpire(statement, (named, table) => {
      const keyspace = named ?? entry?.keyspace ?? keyspaceInForce;
      return keyspace === undefined ? 0 : defaultTtlOf(keyspace, table);
    });
  }
}
