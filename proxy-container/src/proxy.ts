import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { readYamlFile } from '#adapters/config-file.ts';
import type { ResolvedLogins } from '#core/config/access-schema.ts';
import type { MigrationConfig, Phase, ResolvedCluster } from '#core/config/schema.ts';
import type { SchemaChange } from '#core/cql/schema-change.ts';
import { UsageError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { type FilterRules, filterRulesSchema, NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import { refuseRenames } from '#core/model/rename.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import { createAdminServer } from './admin/admin-server.ts';
import type { AdminSubject, PhaseRequest } from './admin/admin-subject.ts';
import { collectMetrics } from './admin/metrics.ts';
import { statusOf } from './admin/proxy-status.ts';
import { QueueDepth } from './admin/queue-depth.ts';
import { RuntimeWatch } from './admin/runtime-watch.ts';
import type { ProxyStatus } from './admin/status.ts';
import { ClientTls } from './client-tls.ts';
import { ClockWatch } from './clock-watch.ts';
import { ClusterFace } from './cluster-face.ts';
import { composeServices } from './compose-services.ts';
import { Counters } from './counters.ts';
import { defaultInstance } from './default-instance.ts';
import type { Definitions } from './definitions.ts';
import { DirectoryLock } from './directory-lock.ts';
import type { DualWrite } from './dual-write.ts';
import { FailedWrites } from './failed-writes.ts';
import { Flusher } from './frame-writer.ts';
import { Journal } from './journal/journal.ts';
import { JournalSender } from './journal/journal-sender.ts';
import { SuspectMarks } from './journal/suspect-marks.ts';
import type { PhaseGate } from './phase-gate.ts';
import { PhaseWatch } from './phase-watch.ts';
import { PreparedStatements } from './prepared-statements.ts';
import type { ProxyServices } from './proxy-services.ts';
import type { Reads } from './reads/reads.ts';
import { Registration } from './registration.ts';
import { SchemaAgreement } from './schema/schema-agreement.ts';
import { readKeyspaces } from './schema/schema-elements.ts';
import { SchemaEvents } from './schema/schema-events.ts';
import { SchemaWatch } from './schema/schema-watch.ts';
import { SchemaFacts } from './schema-facts.ts';
import { CqlServer, listenOn } from './server.ts';
import { NO_LOGINS } from './session/login-policy.ts';
import type { Clusters } from './session/session-upstreams.ts';
import { Sisters } from './sisters.ts';
import { TimestampGenerator } from './timestamps.ts';
import { Cluster, type ClusterName } from './upstream/cluster.ts';
import type { ControlConnection } from './upstream/control-connection.ts';
import { CLUSTER_NAMES, ControlConnections } from './upstream/control-connections.ts';

const MAX_JOURNAL_BYTES = 1024 * 1024 * 1024;
const DRAIN_CLIENTS_MS = 5_000;
const FLUSH_QUEUE_MS = 8_000;
/** What is left when all connections are closed needs no longer. */
const SETTLE_MS = 1_000;
const CONNECTED_AGREEMENT_MS = 2_000;

/** What the proxy needs of the world. */
export interface ProxyPorts {
  readonly ledger: Ledger;
  /** null: failed writes stay in the journal. */
  readonly queue: FailedWriteQueue | null;
  /** Larger failed writes have nowhere to go. Bytes. */
  readonly maxMessageBytes: number;
  readonly origin: ResolvedCluster;
  readonly target: ResolvedCluster;
  readonly logger: Logger;
  /** `proxy.logins`; none: every client is on both clusters what it says. */
  readonly logins?: ResolvedLogins;
  /** One of several processes: the admin API is their host's. */
  readonly isOneOfSeveral?: boolean;
}

/** One proxy instance, put together. */
export class CqlProxy {
  readonly #config: MigrationConfig;
  readonly #ports: ProxyPorts;
  readonly #instance: string;
  readonly #clusters: Clusters;
  readonly #controls: ControlConnections;
  readonly #face: ClusterFace;
  readonly #agreement: SchemaAgreement;
  readonly #schemaEvents: SchemaEvents;
  readonly #schemaWatch: SchemaWatch;
  readonly #sisters: Sisters;
  readonly #counters = new Counters();
  readonly #prepared = new PreparedStatements();
  readonly #timestamps = new TimestampGenerator();
  readonly #flusher = new Flusher();
  readonly #marks: SuspectMarks;
  readonly #facts: SchemaFacts;
  readonly #clocks: ClockWatch;
  readonly #registration: Registration;
  readonly #watch: PhaseWatch;
  readonly #queueDepth: QueueDepth;
  readonly #runtime = new RuntimeWatch();
  #rules: FilterRules = NO_FILTER_RULES;
  #filter: Filter = createFilter(NO_FILTER_RULES);
  readonly #processId = randomUUID();
  #lock: DirectoryLock | undefined;
  #journal: Journal | undefined;
  #sender: JournalSender | undefined;
  #failedWrites: FailedWrites | undefined;
  #gate: PhaseGate | undefined;
  #reads: Reads | undefined;
  #dualWrite: DualWrite | undefined;
  #tls: ClientTls | undefined;
  #server: CqlServer | undefined;
  #definitions: Definitions | undefined;
  #admin: ReturnType<typeof createAdminServer> | undefined;
  #address: AddressInfo | undefined;
  #adminAddress: AddressInfo | undefined;
  #isStopping = false;

  constructor(config: MigrationConfig, ports: ProxyPorts) {
    const { logger, ledger } = ports;
    this.#config = config;
    this.#ports = ports;
    this.#instance = config.proxy.instance ?? defaultInstance(process.env);
    this.#clusters = {
      origin: new Cluster('origin', ports.origin, this.#flusher, this.#counters),
      target: new Cluster('target', ports.target, this.#flusher, this.#counters),
    };
    this.#queueDepth = new QueueDepth(ports.queue);
    this.#controls = new ControlConnections(this.#clusters, logger);
    const controls = this.#controls;
    const { topology, listen } = config.proxy;
    this.#face = new ClusterFace({ ledger, controls, overrides: topology, logger });
    this.#agreement = new SchemaAgreement({ controls: controls.of, logger });
    this.#schemaEvents = new SchemaEvents({
      agreement: this.#agreement,
      definitionsIdle: () => this.#definitions?.idle() ?? Promise.resolve(),
      inUse: () => this.#inUse().map(({ cluster }) => cluster.name),
      ownerOf: (change) => this.#ownerOf(change),
      push: (change) => this.#server?.pushSchemaChange(change),
      logger,
    });
    this.#schemaWatch = new SchemaWatch({
      controls: controls.of,
      agreement: this.#agreement,
      counters: this.#counters,
      filter: () => this.#filter,
      isDual: () => this.#gate !== undefined && shadowOf(this.#gate.phase) !== undefined,
      logger,
    });
    this.#sisters = new Sisters({
      config: topology,
      port: listen.port,
      logger,
      onChange: (change) => this.#server?.pushHostsChange(change, (reached) => this.#sisters.self(reached)),
    });
    const directory = config.failedWrites.journalDir;
    this.#marks = new SuspectMarks({ ledger, instance: this.#instance, directory, logger });
    this.#facts = new SchemaFacts(() => this.#inUse());
    this.#clocks = new ClockWatch({
      warnSkewMs: config.proxy.clocks.warnSkewMs,
      timestamps: this.#timestamps,
      logger,
      controls: () => this.#inUse(),
    });
    this.#registration = new Registration({ ledger, instance: this.#instance, processId: this.#processId, logger });
    this.#watch = new PhaseWatch({
      ledger: this.#registration.ledger,
      instance: this.#instance,
      logger,
      counters: () => this.#counters.summary(),
      onAct: (record) => this.#controls.follow(record.active.phase),
    });
  }

  /**
   * Starts in the order in which things need each other; listens last.
   * @throws ConfigError, UsageError, PrerequisiteError, GateClosedError, ClusterUnreachableError,
   *   AuthenticationFailedError, LedgerUnavailableError: what is missing, with the remedy
   */
  async start(): Promise<void> {
    const { ledger, logger, queue } = this.#ports;
    const { proxy, failedWrites } = this.#config;
    refuseRenames(this.#config.renames, 'the proxy');
    await this.#readFilterRules();
    this.#lock = await DirectoryLock.take(failedWrites.journalDir, this.#processId, logger);
    await this.#registration.waitForName(this.#lock.deadProcessId);
    const first =
      (await ledger.readPhase()) ?? (await ledger.initPhase(proxy.initialPhase, this.#instance, new Date()));
    if (first.active.phase === 'target-only' && !this.#filter.isEmpty) {
      logger.error('filter rules are in force in target-only: requests for what they exclude are refused', {});
    }
    await this.#connectClusters(first.active.phase);
    // First: what the journal finds in doubt is added to them.
    await this.#marks.restore();
    this.#journal = await Journal.open({
      directory: failedWrites.journalDir,
      maxBytes: MAX_JOURNAL_BYTES,
      logger,
      onDoubt: (tables, reason) => {
        for (const { keyspace, table } of tables) this.#marks.mark(keyspace, table, reason);
      },
    });
    if (queue) {
      this.#sender = new JournalSender({
        journal: this.#journal,
        queue,
        batchSize: failedWrites.batchSize,
        maxBackoffMs: failedWrites.retryIntervalSecs * 1000,
        logger,
      });
      this.#sender.start();
    }
    // Before this proxy is registered: one that can't start must not be waited for by a change of phase.
    await this.#listenAdmin();
    this.#gate = await this.#watch.begin(first);
    this.#controls.follow(this.#gate.phase);
    const services = this.#services(this.#gate, this.#journal);
    this.#definitions = services.definitions;
    await this.#sisters.start();
    this.#reads = services.reads;
    this.#dualWrite = services.dualWrite;
    const { tls } = proxy.listen;
    this.#tls = tls ? new ClientTls(tls, logger) : undefined;
    this.#server = new CqlServer(services, proxy.maxClients, this.#tls);
    try {
      this.#address = await this.#server.listen(proxy.listen.host, proxy.listen.port);
    } catch (error) {
      await this.#watch.stop();
      throw error;
    }
    this.#watch.start();
    for (const cluster of Object.values(this.#clusters)) cluster.watchCertificates(logger);
    this.#clocks.start();
    this.#schemaWatch.start();
    logger.info(`CQL server listening on ${proxy.listen.host}:${this.#address.port}`, {
      port: this.#address.port,
      adminPort: this.#adminAddress?.port,
      instance: this.#instance,
      phase: this.#gate.phase,
      epoch: this.#gate.epoch,
      protocolVersion: services.support().maxVersion,
    });
  }

  /** Accepts nobody, finishes what is under way, brings failed writes to the queue, leaves the ledger. */
  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#reads?.dual.stop();
    await this.#server?.drain(DRAIN_CLIENTS_MS);
    await this.#untilIdle(this.#config.proxy.shadowTimeoutMs);
    this.#tls?.close();
    this.#dualWrite?.abandon();
    for (const cluster of Object.values(this.#clusters)) cluster.close();
    // Every copy whose connection was closed has become a failed write then.
    await this.#untilIdle(SETTLE_MS);
    await this.#failedWrites?.idle();
    await this.#journal?.flush();
    await Promise.all([this.#sender?.stop(FLUSH_QUEUE_MS), this.#marks.flush(), this.#clocks.stop()]);
    await this.#journal?.close();
    await this.#watch.stop();
    await this.#lock?.release();
    await Promise.all([this.#controls.stop(), this.#sisters.stop(), this.#schemaWatch.stop()]);
    this.#runtime.stop();
    this.#admin?.closeAllConnections();
    this.#admin?.close();
  }

  async #untilIdle(withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    while ((this.#gate?.inFlight ?? 0) > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #services(gate: PhaseGate, journal: Journal): ProxyServices {
    const { logger, ledger, maxMessageBytes } = this.#ports;
    const shared = { marks: this.#marks, facts: this.#facts, counters: this.#counters, logger };
    this.#failedWrites = new FailedWrites({ ...shared, instance: this.#instance, journal, maxMessageBytes });
    return composeServices({
      ...shared,
      config: this.#config,
      instance: this.#instance,
      ledger,
      gate,
      clusters: this.#clusters,
      controls: this.#controls,
      face: this.#face,
      agreement: this.#agreement,
      sisters: this.#sisters,
      prepared: this.#prepared,
      timestamps: this.#timestamps,
      flusher: this.#flusher,
      logins: this.#ports.logins ?? NO_LOGINS,
      failedWrites: this.#failedWrites,
      filter: () => this.#filter,
      isFenced: () => this.#config.proxy.onLedgerLoss === 'stop' && this.#registration.isLeaseOver,
    });
  }

  async #connectClusters(phase: Phase): Promise<void> {
    await this.#controls.connect(phase);
    await this.#face.begin(phase);
    await Promise.all(this.#inUse().map(({ cluster }) => this.#agreement.agree(cluster.name, CONNECTED_AGREEMENT_MS)));
    for (const name of CLUSTER_NAMES) {
      this.#controls.of[name].onSchemaChange = (change) => {
        this.#facts.forget();
        this.#schemaEvents.take(name, change);
      };
      this.#controls.of[name].onConnected = () => {
        void this.#face.observe(name);
        const before = this.#agreement.versionsOf(name);
        void this.#schemaEvents.catchUp(name, before, () => readKeyspaces(this.#controls.of[name]));
      };
    }
    await this.#clocks.measure();
  }

  /** The cluster whose definition clients read: what a filter keeps on the origin is there in every phase. */
  #ownerOf({ target, keyspace, name }: SchemaChange): ClusterName {
    const phase = this.#gate?.phase ?? this.#config.proxy.initialPhase;
    const isExcluded = target === 'TABLE' && this.#filter.decide(keyspace, name ?? '').kind === 'excluded';
    return isExcluded && phase !== 'target-only' ? 'origin' : primaryOf(phase);
  }

  #inUse(): ControlConnection[] {
    return this.#controls.inUse(this.#gate?.phase ?? this.#config.proxy.initialPhase);
  }

  async #listenAdmin(): Promise<void> {
    if (this.#ports.isOneOfSeveral) return;
    const { host, port } = this.#config.proxy.admin;
    this.#admin = createAdminServer(this.#config.proxy, this.subject, this.#ports.logger);
    this.#adminAddress = await listenOn(this.#admin, host, port, 'proxy.admin');
    this.#admin.on('error', (error) => {
      this.noteFault();
      this.#ports.logger.error('the admin API could not accept a connection', { error: error.message });
    });
  }

  /** The statements that its clients have prepared. */
  get prepared(): PreparedStatements {
    return this.#prepared;
  }

  /** What its admin API shows and changes. */
  get subject(): AdminSubject {
    const zdmPrefix = this.#config.proxy.admin.zdmMetricsPrefix;
    const sources = { counters: this.#counters, runtime: this.#runtime, zdmPrefix, status: () => this.status() };
    return {
      status: async () => this.status(),
      metrics: async () => collectMetrics(sources),
      readPhase: async () => this.#watch.record ?? null,
      changePhase: (request) => this.#changePhase(request),
      filters: async () => this.#rules,
      reloadFilters: () => this.#readFilterRules(),
    };
  }

  #changePhase(request: PhaseRequest): Promise<unknown> {
    const { ledger } = this.#ports;
    return changePhase(
      {
        ...request,
        phase: parsePhase(request.phase),
        withoutProxies: false,
        hasFilterRules: !this.#filter.isEmpty,
      },
      {
        ledger,
        now: () => new Date(),
        sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
        onWait: () => undefined,
      },
    );
  }

  async #readFilterRules(): Promise<FilterRules> {
    const path = this.#config.proxy.filterRules;
    const rules = path === null ? NO_FILTER_RULES : await readYamlFile(filterRulesSchema, path, 'the filter rules');
    const filter = createFilter(rules);
    if (this.#gate?.phase === 'target-only' && !filter.isEmpty) {
      throw new UsageError('in target-only there is no cluster to keep filtered data; the rules stay as they were');
    }
    this.#rules = rules;
    this.#filter = filter;
    return rules;
  }

  /** Where clients are accepted; undefined before. */
  get listenAddress(): AddressInfo | undefined {
    return this.#address;
  }

  /** Where clients are accepted and where the admin API answers; undefined before. */
  get addresses(): { readonly listen: AddressInfo; readonly admin: AddressInfo } | undefined {
    return this.#address && this.#adminAddress && { listen: this.#address, admin: this.#adminAddress };
  }

  /** Counts a fault that nobody handled. */
  noteFault(): void {
    this.#counters.internalErrors++;
  }

  status(): ProxyStatus {
    return statusOf({
      instance: this.#instance,
      initialPhase: this.#config.proxy.initialPhase,
      clusters: this.#clusters,
      controls: this.#controls,
      face: this.#face,
      counters: this.#counters,
      prepared: this.#prepared,
      marks: this.#marks,
      watch: this.#watch,
      clocks: this.#clocks,
      isDraining: this.#isStopping,
      queue: this.#queueDepth.last,
      gate: this.#gate,
      reads: this.#reads,
      server: this.#server,
      journal: this.#journal,
      sender: this.#sender,
    });
  }
}
