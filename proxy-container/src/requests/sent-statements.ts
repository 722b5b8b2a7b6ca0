import { HEADER_BYTES } from '#core/cql/frame.ts';
import { type RequestLayout, readRequestLayout, readValues, requestOffset } from '#core/cql/request-layout.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import type { FailedStatement } from '#core/model/failed-write.ts';
import type { ClientRequest } from './client-request.ts';

/** What a request says to a cluster: texts and values with everything pinned that the proxy evaluates. */
export interface SentStatements {
  readonly layout: RequestLayout;
  /** In the order of the request's own. */
  readonly statements: readonly FailedStatement[];
}

/** @throws ProtocolError, RangeError */
export function sentStatements(request: ClientRequest, cluster: ClusterName): SentStatements {
  const frame = request.frameFor(cluster);
  const offset = HEADER_BYTES + requestOffset(frame[1]!, frame.subarray(HEADER_BYTES));
  const layout = readRequestLayout(request.opcode, frame, request.version, offset);
  const statements = layout.statements.map((one, index): FailedStatement => {
    const text = one.text ?? request.statements[index]?.entry?.text ?? '';
    const values = readValues(frame, one);
    if (values[0]?.name === undefined) return { text, values: values.map(({ value }) => value) };
    return { text, values: new Map<string, BoundValue>(values.map(({ name, value }) => [name!, value])) };
  });
  return { layout, statements };
}
