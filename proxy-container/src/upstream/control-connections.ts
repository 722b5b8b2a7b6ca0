import type { Phase } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import { primaryOf } from '#core/ledger/phase-change.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import { ControlConnection } from './control-connection.ts';

export const CLUSTER_NAMES: readonly ClusterName[] = ['origin', 'target'];

/** The control connections to both clusters: which of them must be there, which may come later, which is not needed. */
export class ControlConnections {
  readonly of: Readonly<Record<ClusterName, ControlConnection>>;
  readonly #logger: Logger;

  constructor(
    clusters: Readonly<Record<ClusterName, ConstructorParameters<typeof ControlConnection>[0]>>,
    logger: Logger,
  ) {
    this.#logger = logger;
    this.of = {
      origin: new ControlConnection(clusters.origin, logger),
      target: new ControlConnection(clusters.target, logger),
    };
  }

  /**
   * The cluster that answers must be there; the other one may come later.
   * @throws ClusterUnreachableError, AuthenticationFailedError
   */
  async connect(phase: Phase): Promise<void> {
    const primary = primaryOf(phase);
    await this.of[primary].connectOnce();
    const other = primary === 'origin' ? 'target' : 'origin';
    if (phase === 'target-only') return;
    await this.of[other]
      .connectOnce()
      .catch((error: unknown) =>
        this.#logger.warn('the other cluster is not reachable yet', { cluster: other, error: describeError(error) }),
      );
  }

  /** In `target-only` nothing needs the origin any more, not even its absence is noticed. */
  follow(phase: Phase): void {
    this.of.target.start();
    if (phase === 'target-only') void this.of.origin.stop();
    else this.of.origin.start();
  }

  /** Those that answer, the primary first. */
  inUse(phase: Phase): ControlConnection[] {
    const ordered = primaryOf(phase) === 'origin' ? CLUSTER_NAMES : CLUSTER_NAMES.toReversed();
    return ordered.map((name) => this.of[name]).filter((control) => control.state === 'up');
  }

  async stop(): Promise<void> {
    await Promise.all(Object.values(this.of).map((control) => control.stop()));
  }
}
