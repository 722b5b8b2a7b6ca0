import type { ResolvedLogins } from '#core/config/access-schema.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import type { FencedError } from '#core/errors.ts';
import type { ClustersSeen } from '#core/ledger/gate-facts.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue } from '#core/ports.ts';
import type { Counters } from './counters/counters.ts';
import type { JournalPorts } from './journal/open-journal.ts';

/** What the proxy needs of the world. */
export interface ProxyPorts extends JournalPorts {
  readonly ledger: Ledger;
  /** In which the ledger's operations are counted; none: new ones, without these. */
  readonly counters?: Counters;
  /** To be looked at: the journal has one of its own. null: there is none. */
  readonly queue: FailedWriteQueue | null;
  readonly origin: ResolvedCluster;
  readonly target: ResolvedCluster;
  /** What the gates of a change of phase want to know of both, when somebody asks this proxy for one. */
  readonly lookAtClusters: () => Promise<ClustersSeen>;
  /** Called once when somebody has declared this process dead; it refuses all requests. */
  readonly onFenced?: (error: FencedError) => void;
  /** `proxy.logins`; none: every client is on both clusters what it says. */
  readonly logins?: ResolvedLogins;
  /** One of several processes: the admin API is their host's. */
  readonly isOneOfSeveral?: boolean;
}
