import { flagsOf, HEADER_BYTES, opcodeOf } from '#core/cql/frame.ts';
import { FrameFlag, Opcode, QueryFlag } from '#core/cql/protocol.ts';
import { faultInBatch, faultInParameters, refuseFault } from '#core/cql/request-check.ts';
import { executeFlagsOffset, readRequestLayout, requestOffset } from '#core/cql/request-layout.ts';
import { ProtocolError } from '#core/errors.ts';
import { classify } from '#core/statement/classify.ts';
import { newTokenBudget } from '#core/statement/tokenizer.ts';
import { ClientRequest, type RequestStatement } from './client-request.ts';
import type { RequestContext } from './request-context.ts';
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
  const hasPayload = (flagsOf(frame) & FrameFlag.CUSTOM_PAYLOAD) !== 0;
  const offset = HEADER_BYTES + (hasPayload ? requestOffset(flagsOf(frame), frame.subarray(HEADER_BYTES)) : 0);
  const opcode = opcodeOf(frame);
  if (opcode === Opcode.EXECUTE) {
    const idEnd = offset + 2 + frame.readUInt16BE(offset);
    if (idEnd > frame.length) throw new ProtocolError('an EXECUTE ends in its id');
    const entry = context.prepared.findIn(frame, offset + 2, idEnd);
    if (!entry) return { kind: 'unprepared', id: frame.subarray(offset + 2, idEnd) };
    const keyspace = entry.keyspace ?? sessionKeyspace;
    const request = new ClientRequest(frame, version, offset, keyspace, entry.alone, context);
    if (entry.isReshaped) request.bringMetadata();
    const flagsOffset = executeFlagsOffset(frame, idEnd, version);
    refuseFault(faultInParameters(frame, flagsOffset, frame.length, version));
    if (entry.requestClass !== 'read') request.pinExecute(flagsOffset);
    else if (hasPagingState(frame, flagsOffset, version)) request.readLayout();
    return { kind: 'request', request };
  }
  if (opcode === Opcode.BATCH) refuseFault(faultInBatch(frame, offset, frame.length, version));
  const layout = readRequestLayout(opcode, frame, version, offset);
  if (opcode === Opcode.QUERY) refuseFault(faultInParameters(frame, layout.flagsOffset, frame.length, version));
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
  if (layout.keyspace === undefined) request.textKeyspace = sessionKeyspace;
  return { kind: 'request', request };
}

/** The children of a BATCH are mutations whatever they claim to be; the server refuses others. */
function classOfAll(opcode: number, statements: readonly RequestStatement[]): RequestClass {
  if (opcode !== Opcode.BATCH) return classOf(statements[0]!.statement);
  return statements.some(({ statement }) => statement.isLwt) ? 'lwt' : 'write';
}

function hasPagingState(frame: Buffer, flagsOffset: number, version: number): boolean {
  const flags = version >= 5 ? frame.readInt32BE(flagsOffset) : frame.readUInt8(flagsOffset);
  return (flags & QueryFlag.PAGING_STATE) !== 0;
}
