import type { ProxyConfig } from '#core/config/schema.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, errorCodeName, Opcode } from '#core/cql/protocol.ts';
import { decodeResult, responseOffset } from '#core/cql/result-message.ts';
import type { SchemaChange } from '#core/cql/schema-change.ts';
import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { Logger } from '#core/ports.ts';
import { namedTables } from '#core/statement/named-tables.ts';
import type { Counters } from '../counters/counters.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { formsOf } from '../requests/keyspace-statements.ts';
import type { Route } from '../requests/route.ts';
import type { SchemaAgreement } from '../schema/schema-agreement.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { SessionUpstreams } from '../session/session-upstreams.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';
import { type Outcome, type OutgoingRequest, UpstreamCall } from '../upstream/upstream-call.ts';
import type { Answer } from '../writes/dual-write.ts';
import { describeOutcome, effectOf, errorCodeIn } from '../writes/outcome.ts';
import { tablesOf } from '../writes/treat-request.ts';
import type { DefinitionTurns } from './definition-turns.ts';

const AGREEMENT_MS = 10_000;
/** Schema changes take longer than requests, and giving up early does not undo them. */
const DEFINITION_TIMEOUT_MS = 30_000;

export interface DefinitionsOptions {
  readonly policy: ProxyConfig['ddl'];
  readonly targetReplication: string | null;
  readonly turns: DefinitionTurns;
  readonly controls: Readonly<Record<ClusterName, Pick<ControlConnection, 'facts'>>>;
  readonly agreement: SchemaAgreement;
  readonly ledger: Ledger;
  readonly marks: SuspectMarks;
  readonly facts: SchemaFacts;
  readonly counters: Counters;
  readonly logger: Logger;
}

/** Refusals that the same statement would meet again; the schema is not on both clusters, and the client must know. */
const LASTING_CODES: ReadonlySet<number> = new Set([
  ErrorCode.INVALID,
  ErrorCode.SYNTAX_ERROR,
  ErrorCode.CONFIG_ERROR,
  ErrorCode.UNAUTHORIZED,
]);

/**
 * DDL, TRUNCATE and roles: first the primary, then the other cluster, and the client hears of it when all nodes of both
 * agree on the schema, because the one node that it sees can't tell it that.
 */
export class Definitions {
  readonly #options: DefinitionsOptions;

  constructor(options: DefinitionsOptions) {
    this.#options = options;
  }

  /** Always answers, and never rejects. */
  async apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route, answer: Answer): Promise<void> {
    let outcome: Outcome;
    try {
      outcome = await this.#apply(upstreams, request, route);
    } catch (error) {
      this.#options.logger.error('a definition could not be carried out', { error: describeError(error) });
      this.#mark(request, undefined, 'a definition had no clear outcome');
      outcome = { kind: 'unsent', code: ErrorCode.SERVER_ERROR, message: 'The proxy failed; look at both schemas' };
    }
    answer(outcome);
  }

  /** Resolves when those that have come so far are done. */
  idle(): Promise<void> {
    return this.#options.turns.idle();
  }

  async #apply(upstreams: SessionUpstreams, request: ClientRequest, route: Route): Promise<Outcome> {
    const isShared = this.#isShared(request, route);
    let hasBegun = false;
    try {
      return await this.#options.turns.take(isShared, () => {
        hasBegun = true;
        return this.#applyNow(upstreams, request, route);
      });
    } catch (error) {
      if (hasBegun) throw error;
      return { kind: 'unsent', code: ErrorCode.OVERLOADED, message: `Nothing was changed: ${describeError(error)}` };
    }
  }

  /** A text that no grammar knows may be a read, or a write whose second time is another one. */
  #isShared(request: ClientRequest, route: Route): boolean {
    const isKnown = request.statements.every(({ statement }) => statement.kind !== 'other');
    return route.shadow !== undefined && this.#options.policy === 'both' && isKnown;
  }

  async #applyNow(upstreams: SessionUpstreams, request: ClientRequest, route: Route): Promise<Outcome> {
    const { controls, policy, targetReplication } = this.#options;
    const forms = formsOf(request, targetReplication);
    const isShadowed = this.#isShared(request, route);
    const both = isShadowed ? [route.primary, route.shadow!] : [route.primary];
    // One cluster alone says itself what is wrong.
    const faults = both.length === 1 ? [] : both.map((name) => forms.faultOf(name, controls[name].facts?.datacenters));
    const refusal = (await this.#refusal(request, route)) ?? faults.find((fault) => fault !== undefined);
    if (refusal !== undefined) return { kind: 'unsent', code: ErrorCode.INVALID, message: refusal };
    const first = await call(upstreams, route.primary, forms.request);
    this.#options.facts.forget();
    if (effectOf(first) !== 'applied') {
      if (effectOf(first) === 'unknown' && route.shadow) {
        this.#mark(request, undefined, 'a definition had no clear outcome');
      }
      return first;
    }
    const change = schemaChangeOf(first, request.version);
    let failure: Outcome | undefined;
    if (isShadowed) failure = await this.#copy(upstreams, request, forms.request, route.shadow!, change);
    else if (route.shadow !== undefined) {
      const why = policy === 'both' ? 'no statement that the proxy knows' : 'proxy.ddl: primary';
      this.#noteMissing(request, change, route.shadow, why);
    }
    if (request.requestClass === 'definition') {
      await this.#agree(route.primary);
      if (isShadowed) await this.#agree(route.shadow!);
    }
    return failure ?? first;
  }

  async #refusal(request: ClientRequest, route: Route): Promise<string | undefined> {
    if (request.requestClass !== 'definition' || route.shadow === undefined) return undefined;
    if (this.#options.policy === 'refuse') {
      return 'Schema changes are refused while the migration is under way (proxy.ddl: refuse)';
    }
    const loads = await this.#options.ledger.listRuns('load').catch(() => undefined);
    if (loads === undefined) return 'Whether a load is under way is not known: the ledger does not answer; try again';
    const keyspace = request.statements[0]?.statement.keyspace;
    const tables = tablesOf(request);
    for (const { runId, ...load } of loads) {
      if (load.state !== 'running') continue;
      const loaded = tables.find((one) => one.keyspace === load.keyspace && load.tables.includes(one.table));
      // A statement that names no table (a type, an index, a whole keyspace) may change any of them.
      const mayMeet = tables.length === 0 && (keyspace === undefined || keyspace === load.keyspace);
      const what = loaded ? `${loaded.keyspace}.${loaded.table}` : mayMeet ? load.keyspace : undefined;
      if (what !== undefined) {
        return `${what} is being loaded by ${runId}; change it when the load has ended, or: ringshift load stop ${runId}`;
      }
    }
    return undefined;
  }

  /** Resolves to what the client is told instead of its success, when the other cluster will never take it. */
  async #copy(
    upstreams: SessionUpstreams,
    request: ClientRequest,
    outgoing: OutgoingRequest,
    shadow: ClusterName,
    change: SchemaChange | undefined,
  ): Promise<Outcome | undefined> {
    const second = await call(upstreams.forShadow, shadow, outgoing);
    if (effectOf(second) === 'applied') {
      const isTruncate = request.statements[0]?.statement.kind === 'truncate';
      // What was not there before differs nowhere, and IF [NOT] EXISTS may have changed nothing.
      const isChanged = isTruncate || (change !== undefined && change.change !== 'CREATED');
      const doubt = isTruncate
        ? ({ code: 'truncate', reason: 'TRUNCATE' } as const)
        : ({ code: 'definition', reason: 'its definition changed' } as const);
      if (isChanged) {
        for (const { keyspace, table } of tablesOf(request)) {
          this.#options.marks.mark({ keyspace, table, tokens: null, lacking: null, ...doubt });
        }
      }
      return undefined;
    }
    this.#noteMissing(request, change, shadow, describeOutcome(second));
    const code = second.kind === 'reply' && opcodeOf(second.frame) === Opcode.ERROR ? errorCodeIn(second.frame) : -1;
    if (!LASTING_CODES.has(code)) return undefined;
    const message = `The statement took effect, but not on the ${shadow}, which refused it (${errorCodeName(code)}): mend it there, then compare with: ringshift schema diff`;
    return { kind: 'unsent', code: ErrorCode.INVALID, message };
  }

  #noteMissing(request: ClientRequest, change: SchemaChange | undefined, shadow: ClusterName, reason: string): void {
    this.#options.counters.definitionsNotCopied++;
    this.#options.logger.warn('a definition did not reach the other cluster', {
      cluster: shadow,
      kind: request.statements[0]?.statement.kind,
      keyspace: change?.keyspace,
      name: change?.name,
      reason,
    });
    this.#mark(request, change, `a definition did not reach the ${shadow}`);
  }

  /** Marks the tables that the statement names, or else the whole keyspace that it changed. Roles belong to none. */
  #mark(request: ClientRequest, change: SchemaChange | undefined, reason: string): void {
    if (request.requestClass === 'role') return;
    const { marks } = this.#options;
    const doubt = { tokens: null, code: 'definition', lacking: null, reason } as const;
    const tables = [...tablesOf(request), ...tablesOfUnknown(request)];
    for (const { keyspace, table } of tables) marks.mark({ keyspace, table, ...doubt });
    const keyspace = change?.keyspace ?? request.statements[0]?.statement.keyspace ?? request.keyspace;
    if (tables.length > 0 || keyspace === undefined) return;
    const isTable = change?.target === 'TABLE' && change.change === 'UPDATED';
    marks.mark({ keyspace, table: isTable ? (change.name ?? WHOLE_KEYSPACE) : WHOLE_KEYSPACE, ...doubt });
  }

  async #agree(cluster: ClusterName): Promise<void> {
    if (await this.#options.agreement.agree(cluster, AGREEMENT_MS)) return;
    this.#options.logger.warn('the nodes of a cluster do not agree on the schema', { cluster, waitedMs: AGREEMENT_MS });
  }
}

function call(upstreams: SessionUpstreams, cluster: ClusterName, request: OutgoingRequest): Promise<Outcome> {
  return new Promise((resolve) => {
    const options = { timeoutMs: DEFINITION_TIMEOUT_MS, failFast: true };
    new UpstreamCall(upstreams, cluster, request, options, resolve).start();
  });
}

/** Of texts that no grammar knows: one that is not understood may be a write, which the other cluster has not got. */
function tablesOfUnknown(request: ClientRequest): TableName[] {
  return request.statements.flatMap(({ statement, entry }, index) => {
    if (statement.kind !== 'other') return [];
    const text = entry?.text ?? request.ensureLayout().statements[index]?.text ?? '';
    return namedTables(text, entry?.keyspace ?? request.keyspace);
  });
}

/** What a definition changed; undefined for roles, TRUNCATE and what was there already. */
function schemaChangeOf(outcome: Outcome, version: number): SchemaChange | undefined {
  if (outcome.kind !== 'reply') return undefined;
  const body = bodyOf(outcome.frame);
  const result = decodeResult(body, version, responseOffset(flagsOf(outcome.frame), body));
  return result.kind === 'schemaChange' ? result.change : undefined;
}
