import type { ErrorMessage } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { hasMorePages, markPage } from '../requests/paging.ts';
import { learnPrepared, type PreparedEntry, preparedForClient } from '../requests/prepared-statements.ts';
import { topologyTable } from '../system-tables/columns.ts';
import type { SystemRow } from '../system-tables/rows.ts';
import { showClusterName, showProxy } from '../topology/topology.ts';
import type { Outcome } from '../upstream/upstream-call.ts';

/** Flags by which a body has something in front of its message. */
const PREFIX_FLAGS = FrameFlag.TRACING | FrameFlag.WARNING | FrameFlag.CUSTOM_PAYLOAD;

/**
 * The answer to a read as the cluster gave it, but for paging states and the tables that show the cluster's nodes.
 * @throws ProtocolError when the cluster's answer is broken
 */
export function dressRead(request: ClientRequest, cluster: ClusterName, frame: Buffer, local: () => SystemRow): Buffer {
  if (opcodeOf(frame) !== Opcode.RESULT) return frame;
  const flags = flagsOf(frame);
  const offset = (flags & PREFIX_FLAGS) === 0 ? 0 : responseOffset(flags, bodyOf(frame));
  const { statement, entry } = request.statements[0]!;
  const topology = entry ? entry.topology : topologyTable(statement.keyspace ?? request.keyspace, statement.table);
  if (topology === 'local') {
    const body = bodyOf(frame);
    const known = entry?.resultColumns;
    const shown = showProxy(body, request.version, local(), known, statement.isJson, offset);
    return withBody(frame, [body.subarray(0, offset), shown]);
  }
  if (statement.kind === 'other') {
    const body = bodyOf(frame);
    const shown = showClusterName(body, request.version, local, entry?.resultColumns, offset);
    if (shown) return withBody(frame, [body.subarray(0, offset), shown]);
  }
  return hasMorePages(frame, offset) ? markPage(frame, offset, cluster) : frame;
}

/** The answer to PREPARE, learned from and with the proxy's own id. @throws ProtocolError as above */
export function dressPrepared(entry: PreparedEntry, cluster: ClusterName, frame: Buffer, version: number): Buffer {
  if (opcodeOf(frame) !== Opcode.RESULT) return frame;
  const body = bodyOf(frame);
  const offset = responseOffset(flagsOf(frame), body);
  learnPrepared(entry, cluster, body, version, offset);
  return withBody(frame, [preparedForClient(entry, body, version, offset)]);
}

/** What a client is told when a cluster gave no answer. `request`: of a PREPARE there is none. */
export function failureOf(
  request: ClientRequest | undefined,
  cluster: ClusterName,
  outcome: Exclude<Outcome, { kind: 'reply' }>,
): ErrorMessage {
  if (outcome.kind === 'unsent') return { code: outcome.code, message: outcome.message };
  const what = outcome.reason === 'timeout' ? 'did not answer in time' : 'closed the connection';
  const message = `the ${cluster} cluster ${what}`;
  if (request === undefined) return { code: ErrorCode.SERVER_ERROR, message };
  // What drivers do when a node leaves them: they ask the next host.
  if (request.requestClass === 'read' && outcome.reason === 'closed') return { code: ErrorCode.OVERLOADED, message };
  const counts = { consistency: request.consistency, received: 0, required: 1 };
  if (request.requestClass === 'read') {
    return { code: ErrorCode.READ_TIMEOUT, message, ...counts, dataPresent: false };
  }
  const writeType = request.requestClass === 'lwt' ? 'CAS' : writeTypeOf(request);
  return { code: ErrorCode.WRITE_TIMEOUT, message, ...counts, writeType };
}

function writeTypeOf(request: ClientRequest): string {
  if (request.isCounterBatch) return 'COUNTER';
  if (request.opcode === Opcode.BATCH) return request.batchKind === BatchKind.UNLOGGED ? 'UNLOGGED_BATCH' : 'BATCH';
  const kind = request.statements[0]?.statement.batchKind;
  return kind === undefined ? 'SIMPLE' : { logged: 'BATCH', unlogged: 'UNLOGGED_BATCH', counter: 'COUNTER' }[kind];
}

/** The frame with another body; `dropFlags` are those of a prefix that the new body does not have. */
export function withBody(frame: Buffer, parts: readonly Buffer[], dropFlags = 0): Buffer {
  const header = {
    version: frame[0]! & 0x7f,
    isResponse: (frame[0]! & 0x80) !== 0,
    flags: flagsOf(frame) & ~dropFlags,
    streamId: 0,
    opcode: opcodeOf(frame),
  };
  return encodeFrame(header, parts.length === 1 ? parts[0]! : Buffer.concat(parts));
}
