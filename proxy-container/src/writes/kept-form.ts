import { encodeBatch } from '#core/cql/batch-body.ts';
import { HEADER_BYTES } from '#core/cql/frame.ts';
import { BatchKind, Opcode } from '#core/cql/protocol.ts';
import { requestOffset } from '#core/cql/request-layout.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { renderType } from '#core/model/compare-schema.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { qualifyTables } from '#core/statement/qualify-tables.ts';
import type { Fragment } from '#core/statement/touched-rows.ts';
import type { ChunkStatement, ChunkWrite } from '../journal/chunk.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import { sentStatements } from '../requests/sent-statements.ts';

/** Mutations that stand for a request on the other cluster, each with its own write time. */
export interface WriteCopy {
  readonly consistency: Consistency;
  readonly statements: readonly Fragment[];
  /** When their TTLs were read. */
  readonly writtenAtSeconds: number;
  /** For the message; the statements have their own. */
  readonly timestampMicros: bigint;
}

/** What a failed write says beside its request. */
export interface Failure {
  readonly destination: ClusterName;
  readonly epoch: number;
  readonly reason: string;
  readonly tables: readonly TableName[];
  readonly isReadBack: boolean;
}

/** Any version will do: it is never sent in this form. */
const COPY_VERSION = 4;

/** A request as the journal takes it: the frame that the cluster was to get. @throws ProtocolError, RangeError */
export function keptForm(request: ClientRequest, failure: Failure): ChunkWrite {
  const frame = request.frameFor(failure.destination);
  const keyspaces = request.statements.map(({ entry }) => entry?.keyspace ?? request.keyspace);
  const isOfOne = keyspaces.every((one) => one === keyspaces[0]);
  return {
    ...failure,
    version: request.version,
    opcode: request.opcode,
    failedAtMs: Date.now(),
    takenAtSeconds: request.takenAtSeconds,
    timestampMicros: undefined,
    keyspace: isOfOne ? keyspaces[0] : undefined,
    statements: isOfOne
      ? request.statements.map(({ entry }) => ({ text: entry?.text, types: typesOf(entry) }))
      : qualified(request, failure.destination, keyspaces),
    frame,
    offset: HEADER_BYTES + requestOffset(frame[1]!, frame.subarray(HEADER_BYTES)),
  };
}

/** The same for mutations that stand for a request. */
export function keptCopy(copy: WriteCopy, failure: Failure): ChunkWrite {
  const { consistency, statements, writtenAtSeconds, timestampMicros } = copy;
  const [first] = statements;
  const isOne = statements.length === 1;
  return {
    ...failure,
    version: COPY_VERSION,
    opcode: isOne ? Opcode.QUERY : Opcode.BATCH,
    failedAtMs: Date.now(),
    takenAtSeconds: writtenAtSeconds,
    timestampMicros,
    keyspace: undefined,
    statements: statements.map(() => ({ text: undefined, types: undefined })),
    frame: isOne
      ? encodeQuery(first!.text, { values: first!.values, consistency }, COPY_VERSION)
      : encodeBatch(BatchKind.UNLOGGED, statements, { consistency }, COPY_VERSION),
    offset: 0,
  };
}

/** For a batch whose statements were prepared in several keyspaces: each names its own. */
function qualified(
  request: ClientRequest,
  cluster: ClusterName,
  keyspaces: readonly (string | undefined)[],
): ChunkStatement[] {
  return sentStatements(request, cluster).statements.map(({ text }, index) => {
    const keyspace = keyspaces[index];
    return {
      text: keyspace === undefined ? text : qualifyTables(text, keyspace),
      types: typesOf(request.statements[index]?.entry),
    };
  });
}

const knownTypes = new WeakMap<NonNullable<PreparedEntry['markers']>, string>();

function typesOf(entry: PreparedEntry | undefined): string | undefined {
  const markers = entry?.markers;
  if (markers === undefined) return undefined;
  let types = knownTypes.get(markers);
  if (types === undefined) {
    types = JSON.stringify(markers.map(({ type }) => renderType(type)));
    knownTypes.set(markers, types);
  }
  return types;
}

/** What is the same for every failure of a prepared statement, as long as nothing is learned of its table. */
interface Plan {
  readonly facts: TableFacts;
  readonly keyspace: string | undefined;
  readonly markers: PreparedEntry['markers'];
  readonly tables: readonly TableName[];
  readonly statements: readonly ChunkStatement[];
}

/** Forms of the usual failed write: one prepared statement that is simply sent again. */
export class UsualForms {
  readonly #plans = new WeakMap<PreparedEntry, Plan>();

  /** undefined: the request is not of this kind, or was not seen yet. @throws ProtocolError, RangeError */
  find(
    request: ClientRequest,
    destination: ClusterName,
    epoch: number,
    reason: string,
    factsOf: (keyspace: string, table: string) => TableFacts | undefined,
  ): ChunkWrite | undefined {
    const entry = request.statements.length === 1 ? request.statements[0]!.entry : undefined;
    const plan = entry && this.#plans.get(entry);
    if (plan === undefined || plan.keyspace !== request.keyspace || plan.markers !== entry!.markers) return undefined;
    const [table] = plan.tables;
    if (factsOf(table!.keyspace, table!.table) !== plan.facts) return undefined;
    const frame = request.frameFor(destination);
    return {
      destination,
      isReadBack: false,
      version: request.version,
      opcode: request.opcode,
      epoch,
      failedAtMs: Date.now(),
      takenAtSeconds: request.takenAtSeconds,
      timestampMicros: undefined,
      reason,
      keyspace: entry!.keyspace ?? request.keyspace,
      tables: plan.tables,
      statements: plan.statements,
      frame,
      offset: HEADER_BYTES + requestOffset(frame[1]!, frame.subarray(HEADER_BYTES)),
    };
  }

  /** Notes a request that was found to be sent again. */
  learn(request: ClientRequest, tables: readonly TableName[], facts: TableFacts | undefined): void {
    const [first] = request.statements;
    if (first?.entry === undefined || request.statements.length > 1 || tables.length !== 1 || !facts) return;
    const { statement, entry } = first;
    if (statement.kind === 'batch' || statement.nonDeterministic.length > 0 || request.opcode !== Opcode.EXECUTE)
      return;
    const statements = [{ text: entry.text, types: typesOf(entry) }];
    this.#plans.set(entry, { facts, keyspace: request.keyspace, markers: entry.markers, tables, statements });
  }
}
