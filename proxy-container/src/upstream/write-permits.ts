import { ErrorCode } from '#core/cql/protocol.ts';
import type { Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { effectOf, errorCodeIn } from '../writes/outcome.ts';
import type { Outcome } from './upstream-call.ts';

/** As long as Cassandra itself believes what it has cached of permissions (`permissions_validity`). */
const VALID_MS = 2_000;
/** Of one login; above it all is asked anew. */
const MAX_TABLES = 10_000;

/**
 * Which tables one login may write, as far as the primary has shown it lately. Where both clusters get a write at the
 * same time, the shadow must not take what the primary would refuse: the first write of a table waits for the primary's
 * word, and those that follow within two seconds of a write that it took do not. Every further one renews that time, so a
 * busy table never waits again. INSERT, UPDATE, DELETE and BATCH need one and the same permission (MODIFY), so the table
 * decides.
 *
 * What is left is a race: writes that are under way when a right is taken away may reach the shadow. Their tables are
 * marked suspect, and from the first refusal on writes wait again.
 * @see https://cassandra.apache.org/doc/5.0/cassandra/managing/operating/security.html#enabling-internal-authorization
 */
export class WritePermits {
  /** keyspace → table → when the last write left that the primary took; milliseconds of performance.now(). */
  readonly #seenAtMs = new Map<string, Map<string, number>>();
  readonly #isAsked: boolean;
  #count = 0;

  /** @param isAsked false: the primary asks nobody who he is, so everybody may do everything */
  constructor(isAsked: boolean) {
    this.#isAsked = isAsked;
  }

  /** Whether the primary has taken a write of this login to each of these tables lately. */
  covers(request: ClientRequest, nowMs: number): boolean {
    if (!this.#isAsked) return true;
    for (const { statement, entry } of request.statements) {
      if (!this.#coversStatement(statement, entry?.keyspace ?? request.keyspace, nowMs)) return false;
    }
    return true;
  }

  /** Takes the primary's word on a write that left at this time. */
  learn(request: ClientRequest, outcome: Outcome, sentAtMs: number): void {
    if (!this.#isAsked) return;
    if (effectOf(outcome) === 'applied') this.#grant(request, sentAtMs);
    else if (outcome.kind === 'reply' && errorCodeIn(outcome.frame) === ErrorCode.UNAUTHORIZED) this.#revoke(request);
  }

  #grant(request: ClientRequest, sentAtMs: number): void {
    for (const { statement, entry } of request.statements) {
      this.#grantStatement(statement, entry?.keyspace ?? request.keyspace, sentAtMs);
    }
  }

  /** Which of several tables it meant is not known. */
  #revoke(request: ClientRequest): void {
    for (const { statement, entry } of request.statements) {
      this.#revokeStatement(statement, entry?.keyspace ?? request.keyspace);
    }
  }

  #coversStatement(statement: Statement, keyspaceInForce: string | undefined, nowMs: number): boolean {
    if (statement.kind === 'batch') {
      for (const child of statement.children) {
        if (!this.#coversStatement(child, keyspaceInForce, nowMs)) return false;
      }
      return true;
    }
    const keyspace = statement.keyspace ?? keyspaceInForce;
    if (keyspace === undefined || statement.table === undefined) return false;
    const seenAtMs = this.#seenAtMs.get(keyspace)?.get(statement.table);
    return seenAtMs !== undefined && nowMs - seenAtMs < VALID_MS;
  }

  #grantStatement(statement: Statement, keyspaceInForce: string | undefined, sentAtMs: number): void {
    for (const child of statement.children) this.#grantStatement(child, keyspaceInForce, sentAtMs);
    const keyspace = statement.keyspace ?? keyspaceInForce;
    if (keyspace === undefined || statement.table === undefined) return;
    const seenAtMs = this.#seenAtMs.get(keyspace)?.get(statement.table);
    if (seenAtMs !== undefined && seenAtMs >= sentAtMs) return;
    if (seenAtMs === undefined && this.#count++ >= MAX_TABLES) {
      this.#seenAtMs.clear();
      this.#count = 1;
    }
    const tables = this.#seenAtMs.get(keyspace) ?? new Map<string, number>();
    tables.set(statement.table, sentAtMs);
    this.#seenAtMs.set(keyspace, tables);
  }

  #revokeStatement(statement: Statement, keyspaceInForce: string | undefined): void {
    for (const child of statement.children) this.#revokeStatement(child, keyspaceInForce);
    const keyspace = statement.keyspace ?? keyspaceInForce;
    if (keyspace === undefined || statement.table === undefined) return;
    if (this.#seenAtMs.get(keyspace)?.delete(statement.table)) this.#count--;
  }
}
