import type { ResolvedLogins } from '#core/config/access-schema.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import type { ClustersSeen } from '#core/ledger/gate-facts.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';

/** What the proxy needs of the world. */
export interface ProxyPorts {
  readonly ledger: Ledger;
  /** null: failed writes stay in the journal. */
  readonly queue: FailedWriteQueue | null;
  /** Larger failed writes have nowhere to go. Bytes. */
  readonly maxMessageBytes: number;
  readonly origin: ResolvedCluster;
  readonly target: ResolvedCluster;
  /** What the gates of a change of phase want to know of both, when somebody asks this proxy for one. */
  readonly lookAtClusters: () => Promise<ClustersSeen>;
  readonly logger: Logger;
  /** `proxy.logins`; none: every client is on both clusters what it says. */
  readonly logins?: ResolvedLogins;
  /** One of several processes: the admin API is their host's. */
  readonly isOneOfSeveral?: boolean;
}
