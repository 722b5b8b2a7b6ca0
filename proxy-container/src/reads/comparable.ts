import type { Filter } from '#core/filter/filter.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { type SelectFacts, selectFacts } from '#core/statement/select-facts.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { exclusionOfRequest } from '../requests/tenant.ts';
import type { NotCompared } from './read-counters.ts';

/** A read whose answers of both clusters should be the same. */
export interface ComparableRead {
  readonly keyspace: string;
  readonly table: string;
  readonly facts: SelectFacts;
}

const SERIAL: ReadonlySet<Consistency> = new Set([Consistency.SERIAL, Consistency.LOCAL_SERIAL]);
const SYSTEM_KEYSPACE = /^(system|dse)(_|$)/;
/** Of prepared statements, which are executed often; forgotten with them. */
const factsOfPrepared = new WeakMap<object, SelectFacts>();

/** undefined: there is nothing to compare (system tables, LIST, DESCRIBE). @throws ProtocolError */
export function comparableRead(
  request: ClientRequest,
  filter: Filter,
  sameTokenOrder: boolean,
): ComparableRead | NotCompared | undefined {
  const { statement, entry } = request.statements[0]!;
  const keyspace = statement.keyspace ?? entry?.keyspace ?? request.keyspace;
  const { table } = statement;
  if (statement.kind !== 'select' || keyspace === undefined || table === undefined) return undefined;
  if (SYSTEM_KEYSPACE.test(keyspace)) return undefined;
  // A paging state means something to the cluster that made it only.
  if (request.isContinued) return 'partial';
  // It would run a round of Paxos there, on which nothing of a conditional write is known.
  if (SERIAL.has(request.consistency)) return 'statement';
  const facts = factsOf(request);
  if (facts.obstacle !== undefined) return 'statement';
  if (facts.isLimited && !sameTokenOrder) return 'partial';
  if (mayHoldExcludedRows(request, filter)) return 'filtered';
  return { keyspace, table, facts };
}

function factsOf(request: ClientRequest): SelectFacts {
  const { entry } = request.statements[0]!;
  if (entry === undefined) return selectFacts(request.ensureLayout().statements[0]!.text ?? '');
  let facts = factsOfPrepared.get(entry);
  if (!facts) {
    facts = selectFacts(entry.text);
    factsOfPrepared.set(entry, facts);
  }
  return facts;
}

/** Rows of excluded tenants are on the origin alone; without a tenant among its terms a read may find them there. */
function mayHoldExcludedRows(request: ClientRequest, filter: Filter): boolean {
  if (filter.isEmpty) return false;
  if (exclusionOfRequest(filter, request) !== 'migrate') return true;
  const { boundColumns } = request.statements[0]!.statement;
  return filter.hasTenantRules && !filter.tenantColumns.some((column) => boundColumns.has(column));
}
