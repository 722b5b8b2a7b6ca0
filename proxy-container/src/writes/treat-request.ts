import { valueLookup } from '#core/model/bound-values.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { classify } from '#core/statement/classify.ts';
import type { Statement } from '#core/statement/statement.ts';
import { touchedRows } from '#core/statement/touched-rows.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { sentStatements } from '../requests/sent-statements.ts';
import { COUNTER, type Treatment, treatmentOf } from './replayable.ts';

const LIST: Treatment = { code: 'list', obstacle: 'a list was written in a way that can not be read back' };

/** What is known of a table; undefined: nothing. */
export type FactsOf = (table: TableName) => TableFacts | undefined;

/** What becomes of a request that failed on a cluster. @throws ProtocolError, RangeError when it can not be read */
export function treatmentOfRequest(request: ClientRequest, destination: ClusterName, factsOf: FactsOf): Treatment {
  if (request.isCounterBatch) return COUNTER;
  const isOpen = request.statements.some(({ statement }) => statement.nonDeterministic.length > 0);
  // With functions evaluated the text is another one, and so are its markers.
  const sent = isOpen ? sentStatements(request, destination).statements : undefined;
  let isReadBack = false;
  for (const [index, { statement: own, entry }] of request.statements.entries()) {
    const statement = own.nonDeterministic.length > 0 ? classify(sent![index]!.text) : own;
    if (statement.batchKind === 'counter') return COUNTER;
    for (const child of statement.kind === 'batch' ? statement.children : [statement]) {
      const table = tableOf(child, entry?.keyspace ?? request.keyspace);
      const treatment = treatmentOf(child, table && factsOf(table));
      if (typeof treatment === 'object') return treatment;
      isReadBack ||= treatment === 'readBack';
    }
  }
  if (!isReadBack) return 'replay';
  return areRowsKnown(request, destination, factsOf) ? 'readBack' : LIST;
}

/** Whether what it touches can be read from the other cluster, and says the same there. */
function areRowsKnown(request: ClientRequest, destination: ClusterName, factsOf: FactsOf): boolean {
  return sentStatements(request, destination).statements.every((one, index) => {
    const { statement: own, entry } = request.statements[index]!;
    const statement = own.nonDeterministic.length > 0 ? classify(one.text) : own;
    return (statement.kind === 'batch' ? statement.children : [statement]).every((child) => {
      const table = tableOf(child, entry?.keyspace ?? request.keyspace);
      const facts = table && factsOf(table);
      const place = { statement: child, keyspace: table?.keyspace ?? '', valueOf: valueLookup(one) };
      const rows = facts && touchedRows(place, facts);
      return rows?.every(({ hasTtl, collections }) => !hasTtl || collections.length === 0) ?? false;
    });
  });
}

/** Every table that a request writes, once. */
export function tablesOf(request: Pick<ClientRequest, 'statements' | 'keyspace'>): TableName[] {
  const tables = new Map<string, TableName>();
  for (const { statement, entry } of request.statements) {
    for (const one of statement.kind === 'batch' ? statement.children : [statement]) {
      const table = tableOf(one, entry?.keyspace ?? request.keyspace);
      if (table) tables.set(`${table.keyspace}.${table.table}`, table);
    }
  }
  return [...tables.values()];
}

function tableOf(statement: Statement, keyspaceInForce: string | undefined): TableName | undefined {
  const keyspace = statement.keyspace ?? keyspaceInForce;
  return keyspace === undefined || statement.table === undefined ? undefined : { keyspace, table: statement.table };
}
