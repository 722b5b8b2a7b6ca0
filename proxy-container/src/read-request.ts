import { flagsOf, HEADER_BYTES, opcodeOf } from '#core/cql/frame.ts';
import { Opcode, QueryFlag } from '#core/cql/protocol.ts';
import { readRequestLayout, requestOffset } from '#core/cql/request-layout.ts';
import { classify } from '#core/statement/classify.ts';
import { newTokenBudget } from '#core/statement/tokenizer.ts';
import { ClientRequest, type RequestContext, type RequestStatement } from './client-request.ts';
import { classOf, type RequestClass } from './route.ts';

/** Statements that the proxy does not know are told to the client, which then prepares them again. */
export type ReadRequest =
  | { readonly kind: 'request'; readonly request: ClientRequest }
  | { readonly kind: 'unprepared'; readonly id: Buffer };

/**
 * Reads a QUERY, EXECUTE or BATCH: only what routing needs. The rest stays bytes.
 * @throws ProtocolError, RangeError where the frame ends too soon, StatementTooLargeError
 */
export function readClientRequest(
  frame: Buffer,
  version: number,
  sessionKeyspace: string | undefined,
  context: RequestContext,
): ReadRequest {
  const offset = HEADER_BYTES + requestOffset(flagsOf(frame), frame.subarray(HEADER_BYTES));
  const opcode = opcodeOf(frame);
  if (opcode === Opcode.EXECUTE) {
    const idEnd = offset + 2 + frame.readUInt16BE(offset);
    const id = frame.subarray(offset + 2, idEnd);
    const entry = context.prepared.find(id);
    if (!entry) return { kind: 'unprepared', id };
    const keyspace = entry.keyspace ?? sessionKeyspace;
    const request = new ClientRequest(frame, version, offset, keyspace, entry.alone, context);
    if (entry.requestClass !== 'read' || hasPagingState(frame, idEnd, version)) request.readLayout();
    return { kind: 'request', request };
  }
  const layout = readRequestLayout(opcode, frame, version, offset);
  const statements: RequestStatement[] = [];
  const budget = newTokenBudget();
  for (const { text, id } of layout.statements) {
    const entry = id && context.prepared.find(id);
    if (id && !entry) return { kind: 'unprepared', id };
    statements.push({ statement: entry ? entry.statement : classify(text ?? '', budget), entry });
  }
  const requestClass = classOfAll(opcode, statements);
  const keyspace = layout.keyspace ?? sessionKeyspace;
  const entries = statements.flatMap(({ entry }) => (entry ? [entry] : []));
  const request = new ClientRequest(frame, version, offset, keyspace, { statements, entries, requestClass }, context);
  request.readLayout(layout);
  return { kind: 'request', request };
}

/** The children of a BATCH are mutations whatever they claim to be; the server refuses others. */
function classOfAll(opcode: number, statements: readonly RequestStatement[]): RequestClass {
  if (opcode !== Opcode.BATCH) return classOf(statements[0]!.statement);
  return statements.some(({ statement }) => statement.isLwt) ? 'lwt' : 'write';
}

/** The flags lie behind the id, in v5 the result metadata id, and the consistency. */
function hasPagingState(frame: Buffer, idEnd: number, version: number): boolean {
  const behindIds = version >= 5 ? idEnd + 2 + frame.readUInt16BE(idEnd) : idEnd;
  const flags = version >= 5 ? frame.readInt32BE(behindIds + 2) : frame.readUInt8(behindIds + 2);
  return (flags & QueryFlag.PAGING_STATE) !== 0;
}
