import { mayExpire } from '#core/statement/may-expire.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { RequestStatement } from './client-request.ts';
import type { PreparedEntry } from './prepared-statements.ts';

/** A table that nobody can describe is not asked for at every write. */
const ASK_AGAIN_MS = 1000;

/** Whether what requests write may expire. Where a table is not known yet, it may. */
export class Expiry {
  readonly #schema: Pick<SchemaFacts, 'known' | 'generation'>;

  constructor(schema: Pick<SchemaFacts, 'known' | 'generation'>) {
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

  #find({ statement, entry }: RequestStatement, keyspaceInForce: string | undefined): boolean | undefined {
    return mayExpire(statement, (named, table) => {
      const keyspace = named ?? entry?.keyspace ?? keyspaceInForce;
      return keyspace === undefined ? 0 : this.#schema.known(keyspace, table)?.defaultTtlSeconds;
    });
  }
}
