import { Opcode } from '#core/cql/protocol.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import { type TopologyTable, topologyTable } from '../system-tables/columns.ts';
import type { SystemTables } from '../system-tables/system-tables.ts';
import type { ClientSession } from './client-session.ts';
import type { Refusals } from './refusals.ts';

/** Requests of one client that ask for the nodes, which the proxy answers itself. */
export class SystemRequests {
  readonly #session: ClientSession;
  readonly #tables: SystemTables;
  readonly #refusals: Refusals;

  constructor(session: ClientSession, tables: SystemTables, refusals: Refusals) {
    this.#session = session;
    this.#tables = tables;
    this.#refusals = refusals;
  }

  /** Whether a read asks for the nodes. */
  concerns(request: ClientRequest): boolean {
    return tableOf(request) !== undefined;
  }

  /** Answers a read, then calls `done` once. False: the cluster is to be asked, and `done` is not called. */
  answer(request: ClientRequest, streamId: number, done: () => void): boolean {
    const table = tableOf(request);
    if (table === undefined) return false;
    const { entry } = request.statements[0]!;
    const text = entry?.text ?? request.ensureLayout().statements[0]!.text ?? '';
    try {
      const answer = this.#tables.answer(table, text, request, this.#session.face);
      if (answer === undefined) return false;
      answer
        .then((body) => this.#session.sendMessage(Opcode.RESULT, body, streamId))
        .catch((error: unknown) => this.#refusals.asCluster(error, streamId))
        .finally(done);
    } catch (error) {
      this.#refusals.asCluster(error, streamId);
      done();
    }
    return true;
  }

  /** Answers a PREPARE. False: as above. */
  prepare(entry: PreparedEntry, version: number, streamId: number): boolean {
    if (entry.topology === undefined) return false;
    try {
      const body = this.#tables.prepare(entry, version);
      if (body === undefined) return false;
      this.#session.sendMessage(Opcode.RESULT, body, streamId);
    } catch (error) {
      this.#refusals.asCluster(error, streamId);
    }
    return true;
  }
}

function tableOf({ statements, keyspace }: ClientRequest): TopologyTable | undefined {
  const { statement, entry } = statements[0]!;
  return entry ? entry.topology : topologyTable(statement.keyspace ?? keyspace, statement.table);
}
