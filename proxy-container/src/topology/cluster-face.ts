import type { Phase, ProxyConfig } from '#core/config/schema.ts';
import { describeError, PrerequisiteError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf } from '#core/ledger/phase-change.ts';
import type { ClusterOffer, FaceRecord, ShownCluster } from '#core/ledger/records.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Support } from '../proxy-services.ts';
import { CLUSTER_NAMES, type ControlConnections } from '../upstream/control-connections.ts';
import { canShowTokens } from './host.ts';
import { offerOf, supportOf } from './support.ts';

export interface ClusterFaceOptions {
  readonly ledger: Ledger;
  readonly controls: ControlConnections;
  readonly overrides: Pick<ProxyConfig['topology'], 'clusterName' | 'datacenter' | 'rack' | 'releaseVersion'>;
  readonly logger: Logger;
}

/**
 * What drivers see of the cluster: names and versions that were taken from the origin once, and protocol versions that
 * both clusters have. The ledger keeps them, so every instance shows the same, and neither a change of phase nor the
 * end of the origin shows.
 */
export class ClusterFace {
  readonly #options: ClusterFaceOptions;
  #record: FaceRecord | undefined;
  #support: Support = supportOf([undefined, undefined]);

  constructor(options: ClusterFaceOptions) {
    this.#options = options;
  }

  /**
   * Reads what the ledger has, or is the first to write it.
   * @throws PrerequisiteError for a partitioner whose tokens can't be shown; LedgerUnavailableError
   */
  async begin(phase: Phase): Promise<void> {
    const { ledger, controls } = this.#options;
    const primary = primaryOf(phase);
    const order: readonly ClusterName[] = ['origin', 'target'];
    const from = order.find((name) => controls.of[name].facts !== undefined) ?? primary;
    const facts = controls.of[from].facts;
    this.#record = await ledger.readFace();
    if (this.#record === undefined) {
      if (facts === undefined) throw new PrerequisiteError('no cluster has said yet what it is; start with the origin');
      refuseForeign(facts.shown.partitioner, from);
      const first: FaceRecord = {
        version: 1,
        shown: facts.shown,
        takenFrom: from,
        at: new Date().toISOString(),
        offers: {},
      };
      this.#record = await ledger.changeFace((found) => (found === undefined ? first : undefined));
    }
    refuseForeign(this.shown.partitioner, this.#record?.takenFrom ?? from);
    for (const name of CLUSTER_NAMES) await this.observe(name);
    this.#refresh();
  }

  /** Names and versions as drivers see them. */
  get shown(): ShownCluster {
    const shown = this.#record!.shown;
    const { clusterName, datacenter, rack, releaseVersion } = this.#options.overrides;
    return {
      ...shown,
      clusterName: clusterName ?? shown.clusterName,
      datacenter: datacenter ?? shown.datacenter,
      rack: rack ?? shown.rack,
      releaseVersion: releaseVersion ?? shown.releaseVersion,
    };
  }

  get support(): Support {
    return this.#support;
  }

  /** Notes what a cluster offers that was just connected, for the instances that don't reach it. Never rejects. */
  async observe(name: ClusterName): Promise<void> {
    const { ledger, controls, logger } = this.#options;
    const facts = controls.of[name].facts;
    if (facts === undefined || this.#record === undefined) return;
    this.#refresh();
    if (facts.shown.partitioner !== this.#record.shown.partitioner) {
      const { partitioner } = facts.shown;
      logger.warn('the clusters have different partitioners: token() differs between them', {
        cluster: name,
        partitioner,
      });
    }
    const offer = offerOf(facts);
    if (isSame(this.#record.offers[name], offer)) return;
    try {
      const record = await ledger.changeFace((found) =>
        found === undefined || isSame(found.offers[name], offer)
          ? undefined
          : { ...found, offers: { ...found.offers, [name]: offer } },
      );
      this.#record = record ?? this.#record;
    } catch (error) {
      logger.warn('what a cluster offers was not written to the ledger', {
        cluster: name,
        error: describeError(error),
      });
    }
  }

  #refresh(): void {
    const { controls, logger } = this.#options;
    const before = this.#support.maxVersion;
    this.#support = supportOf(
      CLUSTER_NAMES.map((name) => {
        const facts = controls.of[name].facts;
        return facts ? offerOf(facts) : this.#record?.offers[name];
      }),
    );
    const { maxVersion } = this.#support;
    if (maxVersion < before) {
      logger.warn(
        'a lower protocol version is offered from now on; sessions of a higher one stay, and fail on that cluster',
        {
          maxVersion,
          before,
        },
      );
    }
  }
}

function isSame(a: ClusterOffer | undefined, b: ClusterOffer): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function refuseForeign(partitioner: string, cluster: ClusterName): void {
  if (canShowTokens(partitioner)) return;
  throw new PrerequisiteError(
    `the partitioner of the ${cluster} is ${partitioner}; the proxy shows tokens of Murmur3Partitioner and RandomPartitioner only, so clients of this cluster must connect to it directly`,
  );
}
