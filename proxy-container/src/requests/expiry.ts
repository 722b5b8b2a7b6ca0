import { EXPIRY_TOLERANCE_SECONDS } from '#core/checksum/row-digest.ts';
import { mayExpire } from '#core/statement/may-expire.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { RequestStatement } from './client-request.ts';
import type { PreparedEntry } from './prepared-statements.ts';

/** How far apart the clocks of two nodes may be before a proxy calls itself not ready. */
const CLOCK_MARGIN_MS = 500;

/** A table that nobody can describe is not asked for at every write. */
const ASK_AGAIN_MS = 1000;

/**
 * A copy that is there by then, counted from when the write left for the primary, ends when the primary's own does, as
 * exactly as comparing tells. A later one may live longer, where its server counts the TTL by itself.
 */
export const LATE_TTL_MS = EXPIRY_TOLERANCE_SECONDS * 1000 - CLOCK_MARGIN_MS;

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
