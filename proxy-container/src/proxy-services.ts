import type { ResolvedLogins } from '#core/config/access-schema.ts';
import type { Phase } from '#core/config/schema.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from './counters/counters.ts';
import type { Definitions } from './definitions/definitions.ts';
import type { WrittenTables } from './journal/written-tables.ts';
import type { PhaseGate } from './phase/phase-gate.ts';
import type { Reads } from './reads/reads.ts';
import type { UsualReads } from './reads/usual-read.ts';
import type { PreparedStatements } from './requests/prepared-statements.ts';
import type { RequestContext } from './requests/request-context.ts';
import type { Clusters } from './session/session-upstreams.ts';
import type { SystemTables } from './system-tables/system-tables.ts';
import type { ClientBacklog } from './transport/client-backlog.ts';
import type { Flusher } from './transport/frame-writer.ts';
import type { DualWrite } from './writes/dual-write.ts';
import type { UsualWrites } from './writes/usual-write.ts';

/** What the proxy offers to drivers: no more than both clusters can do. */
export interface Support {
  readonly maxVersion: number;
  /** The content of SUPPORTED. */
  readonly options: ReadonlyMap<string, readonly string[]>;
}

/** What all client sessions share. */
export interface ProxyServices {
  readonly clusters: Clusters;
  readonly gate: PhaseGate;
  readonly prepared: PreparedStatements;
  readonly requestContext: RequestContext;
  readonly reads: Reads;
  readonly dualWrite: DualWrite;
  readonly usualWrites: UsualWrites;
  readonly usualReads: UsualReads;
  readonly definitions: Definitions;
  readonly systemTables: SystemTables;
  readonly counters: Counters;
  readonly logger: Logger;
  readonly flusher: Flusher;
  readonly backlog: ClientBacklog;
  /** undefined: what failed outlives this instance, so nobody looks for it. */
  readonly writtenTables: WrittenTables | undefined;
  readonly requestTimeoutMs: number;
  support(): Support;
  filter(): Filter;
  /** `proxy.logins`. */
  readonly logins: ResolvedLogins;
  primary(phase: Phase): ClusterName;
  /** The ledger is lost and the configuration says to stop then. */
  isFenced(): boolean;
}
