import type { ProxyConfig } from '#core/config/schema.ts';
import { bodyOf, flagsOf } from '#core/cql/frame.ts';
import { ErrorCode } from '#core/cql/protocol.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { Logger } from '#core/ports.ts';
import type { ClientRequest } from './client-request.ts';
import type { Answer } from './dual-write.ts';
import { type FailedWrites, tablesOf } from './failed-writes.ts';
import { describeOutcome, effectOf } from './outcome.ts';
import type { Route } from './route.ts';
import type { SchemaFacts } from './schema-facts.ts';
import type { SessionUpstreams } from './session/session-upstreams.ts';
import type { ClusterName } from './upstream/cluster.ts';
import type { ControlConnection } from './upstream/control-connection.ts';
import { type Outcome, UpstreamCall } from './upstream/upstream-call.ts';

const AGREEMENT_MS = 10_000;
/** Schema changes take longer than requests, and giving up early does not undo them. */
const DEFINITION_TIMEOUT_MS = 30_000;

export interface DefinitionsOptions {
  readonly policy: ProxyConfig['ddl'];
  readonly controls: Readonly<Record<ClusterName, ControlConnection>>;
  readonly ledger: Ledger;
  readonly failedWrites: FailedWrites;
  readonly facts: SchemaFacts;
  readonly logger: Logger;
}

/**
 * DDL, TRUNCATE and roles: first the primary, then the other cluster, and the client hears of it when all nodes of both
 * agree on the schema, because the one node that it sees can't tell it that.
 */
export class Definitions {
  readonly #options: DefinitionsOptions;

  constructor(options: DefinitionsOptions) {
    this.#options = options;
  }

  async apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: Answer): Promise<void> {
    const refusal = await this.#refusal(request, route);
    if (refusal !== undefined) return answer({ kind: 'unsent', code: ErrorCode.INVALID, message: refusal });
    const first = await call(upstreams, route.primary, request);
    this.#options.facts.forget();
    if (effectOf(first) !== 'applied') {
      if (effectOf(first) === 'unknown' && route.shadow) this.#mark(request, 'a definition had no clear outcome');
      return answer(first);
    }
    const isShadowed = route.shadow !== undefined && this.#options.policy === 'both';
    if (isShadowed) await this.#copy(upstreams, request, route.shadow!, first);
    else if (route.shadow !== undefined) this.#mark(request, 'a definition went to one cluster only');
    if (request.requestClass === 'definition') {
      await this.#agree(route.primary);
      if (isShadowed) await this.#agree(route.shadow!);
    }
    answer(first);
  }

  async #refusal(request: ClientRequest, route: Route): Promise<string | undefined> {
    if (request.requestClass !== 'definition' || route.shadow === undefined) return undefined;
    if (this.#options.policy === 'refuse') {
      return 'Schema changes are refused while the migration is under way (proxy.ddl: refuse)';
    }
    for (const { keyspace, table } of tablesOf(request)) {
      const record = await this.#options.ledger.readTable(keyspace, table).catch(() => undefined);
      if (record?.state === 'loading') return `${keyspace}.${table} is being loaded; change it when the load has ended`;
    }
    return undefined;
  }

  async #copy(upstreams: SessionUpstreams, request: ClientRequest, shadow: ClusterName, first: Outcome): Promise<void> {
    const second = await call(upstreams, shadow, request);
    if (effectOf(second) !== 'applied') {
      const reason = describeOutcome(second);
      this.#options.logger.warn('a definition did not reach the other cluster', {
        cluster: shadow,
        kind: request.statements[0]?.statement.kind,
        reason,
      });
      this.#mark(request, `a definition did not reach the ${shadow}`);
    } else if (!isCreation(first, request.version)) {
      this.#mark(request, request.statements[0]?.statement.kind === 'truncate' ? 'TRUNCATE' : 'its definition changed');
    }
  }

  #mark(request: ClientRequest, reason: string): void {
    this.#options.failedWrites.mark(request, reason);
  }

  async #agree(cluster: ClusterName): Promise<void> {
    if (await this.#options.controls[cluster].schemaAgreement(AGREEMENT_MS)) return;
    this.#options.logger.warn('the nodes of a cluster do not agree on the schema', { cluster, waitedMs: AGREEMENT_MS });
  }
}

function call(upstreams: SessionUpstreams, cluster: ClusterName, request: ClientRequest): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { timeoutMs: DEFINITION_TIMEOUT_MS, failFast: true };
    new UpstreamCall(upstreams, cluster, request, options, resolve).start();
  });
}

/** What was not there before differs nowhere. */
function isCreation(outcome: Outcome, version: number): boolean {
  if (outcome.kind !== 'reply') return false;
  const body = bodyOf(outcome.frame);
  const result = decodeResult(body, version, responseOffset(flagsOf(outcome.frame), body));
  return result.kind === 'schemaChange' && result.change.change === 'CREATED';
}
