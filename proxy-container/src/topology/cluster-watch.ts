import type { Reloaded } from '#adapters/watched-files.ts';
import type { MigrationConfig, Phase, ResolvedCluster } from '#core/config/schema.ts';
import type { SchemaChange } from '#core/cql/schema-change.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import { SchemaAgreement } from '../schema/schema-agreement.ts';
import { readKeyspaces } from '../schema/schema-elements.ts';
import { SchemaEvents } from '../schema/schema-events.ts';
import { SchemaFacts } from '../schema/schema-facts.ts';
import { SchemaWatch } from '../schema/schema-watch.ts';
import type { Clusters } from '../session/session-upstreams.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import { Cluster } from '../upstream/cluster.ts';
import type { ControlConnection } from '../upstream/control-connection.ts';
import { CLUSTER_NAMES, ControlConnections } from '../upstream/control-connections.ts';
import { ClockWatch } from '../writes/clock-watch.ts';
import type { TimestampGenerator } from '../writes/timestamps.ts';
import { ClusterFace } from './cluster-face.ts';

const CONNECTED_AGREEMENT_MS = 2_000;

export interface ClusterWatchOptions {
  readonly config: MigrationConfig;
  readonly origin: ResolvedCluster;
  readonly target: ResolvedCluster;
  readonly ledger: Ledger;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly flusher: Flusher;
  readonly timestamps: TimestampGenerator;
  readonly filter: () => Filter;
  /** undefined: the proxy has no phase yet. */
  readonly gate: () => PhaseGate | undefined;
  /** Resolves when no definition of a client is on its way from one cluster to the other. */
  readonly definitionsIdle: () => Promise<void>;
  /** To every client that has asked for such events. */
  readonly push: (change: SchemaChange) => void;
}

/** The two clusters, and what the proxy sees of them beside its data path: what they are, their schemas, their clocks. */
export class ClusterWatch {
  readonly clusters: Clusters;
  readonly controls: ControlConnections;
  readonly face: ClusterFace;
  readonly agreement: SchemaAgreement;
  readonly facts: SchemaFacts;
  readonly clocks: ClockWatch;
  readonly #options: ClusterWatchOptions;
  readonly #schemaEvents: SchemaEvents;
  readonly #schemaWatch: SchemaWatch;

  /** @throws PrerequisiteError when a certificate or a bundle can't be read */
  constructor(options: ClusterWatchOptions) {
    const { config, ledger, logger, counters, flusher, filter, gate, timestamps } = options;
    this.#options = options;
    this.clusters = {
      origin: new Cluster('origin', options.origin, flusher, counters),
      target: new Cluster('target', options.target, flusher, counters),
    };
    const controls = new ControlConnections(this.clusters, logger);
    this.controls = controls;
    this.face = new ClusterFace({ ledger, controls, overrides: config.proxy.topology, logger });
    this.agreement = new SchemaAgreement({ controls: controls.of, logger });
    this.facts = new SchemaFacts(
      () => this.#inUse(),
      () => Object.values(controls.of).map(({ facts }) => facts?.shown.partitioner),
    );
    const { warnSkewMs } = config.proxy.clocks;
    this.clocks = new ClockWatch({ warnSkewMs, timestamps, logger, controls: () => this.#inUse() });
    this.#schemaEvents = new SchemaEvents({
      agreement: this.agreement,
      definitionsIdle: options.definitionsIdle,
      inUse: () => this.#inUse().map(({ cluster }) => cluster.name),
      ownerOf: (change) => this.#ownerOf(change),
      push: options.push,
      logger,
    });
    this.#schemaWatch = new SchemaWatch({
      controls: controls.of,
      agreement: this.agreement,
      counters,
      filter,
      isDual: () => {
        const phase = gate()?.phase;
        return phase !== undefined && shadowOf(phase) !== undefined;
      },
      logger,
    });
  }

  /**
   * Connects to the clusters that the phase needs, for the start of the proxy.
   * @throws ClusterUnreachableError, AuthenticationFailedError, PrerequisiteError, LedgerUnavailableError
   */
  async connect(phase: Phase): Promise<void> {
    await this.controls.connect(phase);
    await this.face.begin(phase);
    await Promise.all(this.#inUse().map(({ cluster }) => this.agreement.agree(cluster.name, CONNECTED_AGREEMENT_MS)));
    for (const name of CLUSTER_NAMES) {
      this.controls.of[name].onSchemaChange = (change) => {
        this.facts.forget();
        this.#schemaEvents.take(name, change);
      };
      this.controls.of[name].onConnected = () => {
        // Of changes while it was away nobody has told.
        this.facts.forget();
        void this.face.observe(name);
        const before = this.agreement.versionsOf(name);
        void this.#schemaEvents.catchUp(name, before, () => readKeyspaces(this.controls.of[name]));
      };
    }
    await this.clocks.measure();
  }

  /** Looks at certificates, clocks and schemas again and again. */
  start(): void {
    for (const cluster of Object.values(this.clusters)) cluster.watchCertificates(this.#options.logger);
    this.clocks.start();
    this.#schemaWatch.start();
  }

  /** Looks at the certificates and bundles of both clusters now. */
  reloadCertificates(): Reloaded[] {
    return Object.values(this.clusters).flatMap((cluster) => cluster.reloadCertificates());
  }

  /** Ends all connections of the data path. */
  closeClusters(): void {
    for (const cluster of Object.values(this.clusters)) cluster.close();
  }

  async stop(): Promise<void> {
    await Promise.all([this.controls.stop(), this.#schemaWatch.stop()]);
  }

  get #phase(): Phase {
    return this.#options.gate()?.phase ?? this.#options.config.proxy.initialPhase;
  }

  #inUse(): ControlConnection[] {
    return this.controls.inUse(this.#phase);
  }

  /** The cluster whose definition clients read: what a filter keeps on the origin is there in every phase. */
  #ownerOf({ target, keyspace, name }: SchemaChange): ClusterName {
    const phase = this.#phase;
    const isExcluded = target === 'TABLE' && this.#options.filter().decide(keyspace, name ?? '').kind === 'excluded';
    return isExcluded && phase !== 'target-only' ? 'origin' : primaryOf(phase);
  }
}
