import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { datacentersOf, findReplication, withReplication } from '#core/statement/keyspace-replication.ts';
import type { OutgoingRequest } from '../upstream/upstream-call.ts';
import type { ClientRequest } from './client-request.ts';

/** A definition in the form that each cluster gets. */
export interface DefinitionForms {
  readonly request: OutgoingRequest;
  /** Why a cluster can't take it; by cluster. */
  readonly faultOf: (cluster: ClusterName, datacenters: ReadonlySet<string> | undefined) => string | undefined;
}

/**
 * CREATE and ALTER KEYSPACE say where replicas are, and the clusters have data centres of their own: the target gets
 * `targetReplication` where it is set, and a name that a cluster does not have is told before anything is changed.
 * Every other statement is for both as it is.
 */
export function formsOf(request: ClientRequest, targetReplication: string | null): DefinitionForms {
  const text = textOf(request);
  const replication = findReplication(text);
  if (replication === undefined) return { request, faultOf: () => undefined };
  const forTarget = targetReplication === null ? text : withReplication(text, targetReplication);
  const faultOf: DefinitionForms['faultOf'] = (cluster, datacenters) => {
    const sent = cluster === 'target' ? findReplication(forTarget) : replication;
    const missing = sent ? datacentersOf(sent).filter((name) => datacenters?.has(name) === false) : [];
    if (missing.length === 0) return undefined;
    const remedy =
      cluster === 'target'
        ? 'set proxy.targetReplication to the replication that keyspaces have there'
        : 'name the data centres of the origin, and those of the target in proxy.targetReplication';
    return `The ${cluster} has no data centre ${missing.join(', ')} (it has ${[...(datacenters ?? [])].join(', ')}); ${remedy}`;
  };
  if (forTarget === text) return { request, faultOf };
  const changed = queryFrame(request, forTarget);
  return {
    faultOf,
    request: {
      entries: request.entries,
      frameFor: (cluster) => (cluster === 'target' ? changed : request.frameFor(cluster)),
      forgetFrames: () => request.forgetFrames(),
    },
  };
}

function textOf(request: ClientRequest): string {
  if (request.opcode === Opcode.BATCH) return '';
  return request.statements[0]?.entry?.text ?? request.ensureLayout().statements[0]?.text ?? '';
}

/** A prepared one is sent as text too: its id stands for the client's. */
function queryFrame(request: ClientRequest, text: string): Buffer {
  const { version } = request;
  const header = { version, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY };
  return encodeFrame(header, encodeQuery(text, { consistency: request.consistency }, version));
}
