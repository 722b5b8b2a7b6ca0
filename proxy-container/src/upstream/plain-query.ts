import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import { ServerError } from '#core/errors.ts';
import type { Cluster } from './cluster.ts';
import type { Rows } from './cluster-facts.ts';
import { encodePlainQuery } from './handshake.ts';
import type { UpstreamConnection } from './upstream-connection.ts';

/** Asks on one connection, without values. @throws ClusterUnreachableError, RequestTimeoutError, ServerError */
export async function plainQuery(connection: UpstreamConnection, text: string, cluster: Cluster): Promise<Rows> {
  const body = encodePlainQuery(text, connection.version);
  const reply = await connection.request(Opcode.QUERY, 0, body, cluster.config.requestTimeoutMs);
  const replyBody = bodyOf(reply);
  if (opcodeOf(reply) === Opcode.ERROR) {
    const error = decodeError(replyBody, connection.version);
    throw new ServerError(`${cluster.name}: ${error.message}`, error.code, true);
  }
  const result = decodeResult(replyBody, connection.version, responseOffset(flagsOf(reply), replyBody));
  return result.kind === 'rows' ? result.rows : [];
}
