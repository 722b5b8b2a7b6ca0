import { createHash } from 'node:crypto';
import { ErrorCode, QueryFlag } from '#core/cql/protocol.ts';
import { encodePrepared, encodeRows } from '#core/cql/result-message.ts';
import { ServerError } from '#core/errors.ts';
import type { ShownCluster } from '#core/ledger/records.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import { parseSystemSelect } from '#core/statement/system-select.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import { type Host, nameBasedUuid, sameHost } from '../topology/host.ts';
import { SYSTEM_TABLES, type TopologyTable } from './columns.ts';
import { localRow, peerRow, peerV2Row, type ShownFacts, type SystemRow } from './rows.ts';
import { planSelect, runSelect, type SelectPlan } from './select-plan.ts';

/** A driver's own time-outs are 2 s and more. */
const MAX_SETTLE_MS = 1_000;

export interface SystemTablesOptions {
  /** What drivers see of the cluster. */
  readonly cluster: () => ShownCluster;
  /** The highest protocol version that is offered. */
  readonly maxVersion: () => number;
  /** The instances, this one perhaps among them. */
  readonly hosts: () => readonly Host[];
  /** Which of `hosts` this instance is, for a client that reached it there. */
  readonly self: (reached: Host) => Host;
  readonly schema: {
    /** A UUID, one for both clusters. */
    readonly version: string;
    /** All nodes of the clusters in use agree. */
    readonly isSettled: boolean;
    /** Resolves when they do, or when the time is over. */
    settled(withinMs: number): Promise<unknown>;
  };
}

/**
 * Answers what drivers ask of the nodes: `system.local`, `peers` and `peers_v2` as a cluster would whose nodes are the
 * proxy's instances. No cluster is asked, so the answers are the same in every phase.
 */
export class SystemTables {
  readonly #options: SystemTablesOptions;

  constructor(options: SystemTablesOptions) {
    this.#options = options;
  }

  /**
   * The body of the RESULT. undefined: the primary must answer, and `local` be put in its place.
   * @throws ServerError that says to the client what is wrong, by rejecting too
   */
  answer(table: TopologyTable, text: string, request: ClientRequest, reached: Host): Promise<Buffer> | undefined {
    const plan = planOf(table, text);
    return plan && this.#run(plan, request, reached);
  }

  /** The body of PREPARED, with the entry's id. undefined as above. @throws ServerError as above */
  prepare(entry: PreparedEntry, version: number): Buffer | undefined {
    const plan = entry.topology && planOf(entry.topology, entry.text);
    if (plan === undefined) return undefined;
    const { columns, markers, partitionKeyIndexes } = plan;
    const prepared = {
      id: entry.id,
      resultMetadataId: metadataId(columns),
      markers,
      partitionKeyIndexes,
      result: { columnCount: columns.length, columns },
    };
    return encodePrepared(prepared, version);
  }

  /** The row of `system.local` for a client that reached the proxy there. */
  local(reached: Host): SystemRow {
    return localRow(this.#options.self(reached), this.#facts(this.#options.schema.version));
  }

  async #run(plan: SelectPlan, request: ClientRequest, reached: Host): Promise<Buffer> {
    const layout = request.ensureLayout();
    const count = layout.statements[0]!.valueCount ?? 0;
    if (count !== plan.markers.length) {
      const message = `Invalid amount of bind variables: ${plan.markers.length} expected, ${count} given`;
      throw new ServerError(message, ErrorCode.INVALID, false);
    }
    const { schema } = this.#options;
    // A driver that sees other hosts compares their versions with this one's; alone it has nothing to compare.
    if (!schema.isSettled && this.#others(reached).length === 0) await schema.settled(MAX_SETTLE_MS);
    const rows = runSelect(plan, this.#rows(plan.table.name, reached), request.valuesOf(0));
    const { columns } = plan;
    const columnCount = columns.length;
    const held = layout.statements[0]!.resultMetadataId;
    const id = held && metadataId(columns);
    if (held && id && !held.equals(id)) return encodeRows({ columnCount, columns, newMetadataId: id }, rows);
    const isSkipped = (layout.flags & QueryFlag.SKIP_METADATA) !== 0;
    return encodeRows({ columnCount, ...(isSkipped ? {} : { columns }) }, rows);
  }

  #rows(table: TopologyTable, reached: Host): SystemRow[] {
    if (table === 'local') return [this.local(reached)];
    const { schema } = this.#options;
    // While nodes disagree the hosts seem to, or the agreement that a driver asks for would be no more than ours.
    const facts = this.#facts(schema.isSettled ? schema.version : nameBasedUuid(`unsettled ${schema.version}`));
    const others = this.#others(reached);
    if (table === 'peers_v2') return others.map((host) => peerV2Row(host, facts));
    const own = this.#options.self(reached).address;
    const byAddress = new Map(others.map((host) => [host.address, host] as const).reverse());
    return [...byAddress.values()].reverse().flatMap((host) => (host.address === own ? [] : [peerRow(host, facts)]));
  }

  #others(reached: Host): readonly Host[] {
    const self = this.#options.self(reached);
    return this.#options.hosts().filter((host) => !sameHost(host, self));
  }

  #facts(schemaVersion: string): ShownFacts {
    return {
      cluster: this.#options.cluster(),
      nativeProtocolVersion: this.#options.maxVersion(),
      schemaVersion,
    };
  }
}

/** undefined: of `system.local` a cluster may know what the proxy does not (functions, columns of other releases). */
function planOf(name: TopologyTable, text: string): SelectPlan | undefined {
  const select = parseSystemSelect(text);
  if (select === undefined) {
    if (name === 'local') return undefined;
    const message = `The proxy itself answers what is asked of system.${name}: columns, count(), JSON, =, IN and LIMIT; this is more`;
    throw new ServerError(message, ErrorCode.INVALID, false);
  }
  if (name === 'local' && hasForeignColumns(select.selectors)) return undefined;
  return planSelect(select, SYSTEM_TABLES[name]);
}

function hasForeignColumns(selectors: 'all' | readonly { readonly column?: string }[]): boolean {
  return (
    selectors !== 'all' &&
    selectors.some(({ column }) => column !== undefined && !SYSTEM_TABLES.local.columns.has(column))
  );
}

/** v5: by which a client knows that the columns are those of PREPARED. */
function metadataId(columns: readonly ResultColumn[]): Buffer {
  return createHash('md5').update(JSON.stringify(columns)).digest();
}
