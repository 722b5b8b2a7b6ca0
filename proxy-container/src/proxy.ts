import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { readYamlFile } from '#adapters/config-file.ts';
import type { MigrationConfig, Phase, ResolvedCluster } from '#core/config/schema.ts';
import { ConfigError, UsageError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { type FilterRules, filterRulesSchema, NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import { Consistency, type ConsistencyName } from '#core/model/cql-request.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import { createAdminServer, type PhaseRequest } from './admin/admin-server.ts';
import { createMetrics } from './admin/metrics.ts';
import type { ProxyStatus } from './admin/status.ts';
import { ClockWatch } from './clock-watch.ts';
import { Counters } from './counters.ts';
import { Definitions } from './definitions.ts';
import { DirectoryLock } from './directory-lock.ts';
import { DualWrite } from './dual-write.ts';
import { FailedWrites } from './failed-writes.ts';
import { Flusher } from './frame-writer.ts';
import { Journal } from './journal/journal.ts';
import { JournalSender } from './journal/journal-sender.ts';
import { SuspectMarks } from './journal/suspect-marks.ts';
import type { PhaseGate } from './phase-gate.ts';
import { PhaseWatch } from './phase-watch.ts';
import { PreparedStatements } from './prepared-statements.ts';
import type { ProxyServices } from './proxy-services.ts';
import { Registration } from './registration.ts';
import { SchemaFacts } from './schema-facts.ts';
import { CqlServer, listenOn } from './server.ts';
import type { Clusters } from './session/session-upstreams.ts';
import { ShadowWriter } from './shadow-writer.ts';
import { supportOf } from './support.ts';
import { TimestampGenerator } from './timestamps.ts';
import { Cluster, type ClusterName } from './upstream/cluster.ts';
import { ControlConnection } from './upstream/control-connection.ts';

const MAX_JOURNAL_BYTES = 1024 * 1024 * 1024;
const DRAIN_CLIENTS_MS = 5_000;
const FLUSH_QUEUE_MS = 8_000;

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
}

const NAMES: readonly ClusterName[] = ['origin', 'target'];

/** One proxy instance, put together. */
export class CqlProxy {
  readonly #config: MigrationConfig;
  readonly #ports: ProxyPorts;
  readonly #instance: string;
  readonly #clusters: Clusters;
  readonly #controls: Readonly<Record<ClusterName, ControlConnection>>;
  readonly #counters = new Counters();
  readonly #prepared = new PreparedStatements();
  readonly #timestamps = new TimestampGenerator();
  readonly #flusher = new Flusher();
  readonly #marks: SuspectMarks;
  readonly #facts: SchemaFacts;
  readonly #clocks: ClockWatch;
  readonly #registration: Registration;
  readonly #watch: PhaseWatch;
  #rules: FilterRules = NO_FILTER_RULES;
  #filter: Filter = createFilter(NO_FILTER_RULES);
  readonly #processId = randomUUID();
  #lock: DirectoryLock | undefined;
  #journal: Journal | undefined;
  #sender: JournalSender | undefined;
  #failedWrites: FailedWrites | undefined;
  #gate: PhaseGate | undefined;
  #server: CqlServer | undefined;
  #admin: ReturnType<typeof createAdminServer> | undefined;
  #isStopping = false;

  constructor(config: MigrationConfig, ports: ProxyPorts) {
    const { logger, ledger } = ports;
    this.#config = config;
    this.#ports = ports;
    this.#instance = config.proxy.instance ?? hostname();
    this.#clusters = {
      origin: new Cluster('origin', ports.origin, this.#flusher, this.#counters),
      target: new Cluster('target', ports.target, this.#flusher, this.#counters),
    };
    this.#controls = {
      origin: new ControlConnection(this.#clusters.origin, logger),
      target: new ControlConnection(this.#clusters.target, logger),
    };
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
      onAct: (record) => this.#followPhase(record.active.phase),
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
    refuseSecureConnectBundles(this.#ports);
    await this.#readFilterRules();
    this.#lock = await DirectoryLock.take(failedWrites.journalDir, this.#processId);
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
    this.#followPhase(this.#gate.phase);
    const services = this.#services(this.#gate, this.#journal);
    this.#server = new CqlServer(services, proxy.maxClients);
    try {
      await this.#server.listen(proxy.listen.host, proxy.listen.port);
    } catch (error) {
      await this.#watch.stop();
      throw error;
    }
    this.#watch.start();
    this.#clocks.start();
    logger.info(`CQL server listening on ${proxy.listen.host}:${proxy.listen.port}`, {
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
    await this.#server?.drain(DRAIN_CLIENTS_MS);
    const deadline = performance.now() + this.#config.proxy.shadowTimeoutMs;
    while ((this.#gate?.inFlight ?? 0) > 0 && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (const cluster of Object.values(this.#clusters)) cluster.close();
    await this.#failedWrites?.idle();
    await this.#journal?.flush();
    await Promise.all([this.#sender?.stop(FLUSH_QUEUE_MS), this.#marks.flush(), this.#clocks.stop()]);
    await this.#journal?.close();
    await this.#watch.stop();
    await this.#lock?.release();
    await Promise.all(Object.values(this.#controls).map((control) => control.stop()));
    this.#admin?.closeAllConnections();
    this.#admin?.close();
  }

  #services(gate: PhaseGate, journal: Journal): ProxyServices {
    const { proxy } = this.#config;
    const { logger, ledger } = this.#ports;
    const counters = this.#counters;
    const failedWrites = new FailedWrites({
      instance: this.#instance,
      journal,
      marks: this.#marks,
      facts: this.#facts,
      counters,
      logger,
      maxMessageBytes: this.#ports.maxMessageBytes,
    });
    this.#failedWrites = failedWrites;
    const shadows = new ShadowWriter({ timeoutMs: proxy.shadowTimeoutMs, gate, failedWrites, counters, logger });
    const requestTimeoutMs = {
      origin: this.#config.origin.requestTimeoutMs,
      target: this.#config.target.requestTimeoutMs,
    };
    return {
      clusters: this.#clusters,
      gate,
      prepared: this.#prepared,
      requestContext: {
        prepared: this.#prepared,
        timestamps: this.#timestamps,
        targetConsistency: consistencyMap(proxy.targetConsistency),
      },
      dualWrite: new DualWrite({ dualSync: proxy.dualSync, gate, shadows, failedWrites, counters, requestTimeoutMs }),
      definitions: new Definitions({
        policy: proxy.ddl,
        controls: this.#controls,
        ledger,
        marks: this.#marks,
        facts: this.#facts,
        counters,
        logger,
      }),
      counters,
      logger,
      flusher: this.#flusher,
      requestTimeoutMs: Math.max(requestTimeoutMs.origin, requestTimeoutMs.target),
      support: () => supportOf(NAMES.map((name) => this.#controls[name].facts)),
      filter: () => this.#filter,
      primary: primaryOf,
      isFenced: () => proxy.onLedgerLoss === 'stop' && this.#registration.isLeaseOver,
    };
  }

  /** The cluster that answers must be there; the other one may come later. */
  async #connectClusters(phase: Phase): Promise<void> {
    const primary = primaryOf(phase);
    await this.#controls[primary].connectOnce();
    const other = primary === 'origin' ? 'target' : 'origin';
    if (phase !== 'target-only') {
      await this.#controls[other].connectOnce().catch((error: unknown) =>
        this.#ports.logger.warn('the other cluster is not reachable yet', {
          cluster: other,
          error: error instanceof Error ? error.message : String(error),
        }),
      );
    }
    for (const name of NAMES) {
      this.#controls[name].onSchemaChange = (change) => {
        this.#facts.forget();
        if (this.#gate && name === primaryOf(this.#gate.phase)) this.#server?.pushSchemaChange(change);
      };
    }
    await this.#clocks.measure();
  }

  /** In `target-only` nothing needs the origin any more, not even its absence is noticed. */
  #followPhase(phase: Phase): void {
    this.#controls.target.start();
    if (phase === 'target-only') void this.#controls.origin.stop();
    else this.#controls.origin.start();
  }

  #inUse(): ControlConnection[] {
    const phase = this.#gate?.phase ?? this.#config.proxy.initialPhase;
    const ordered = primaryOf(phase) === 'origin' ? NAMES : NAMES.toReversed();
    return ordered.map((name) => this.#controls[name]).filter((control) => control.state === 'up');
  }

  async #listenAdmin(): Promise<void> {
    const { host, port, token } = this.#config.proxy.admin;
    const metrics = createMetrics(this.#counters, () => this.status());
    this.#admin = createAdminServer({
      token,
      maxSkewMs: this.#config.proxy.clocks.maxSkewMs,
      logger: this.#ports.logger,
      status: () => this.status(),
      metrics: () => metrics.render(),
      readPhase: async () => this.#watch.record ?? null,
      changePhase: (request) => this.#changePhase(request),
      filters: () => this.#rules,
      reloadFilters: () => this.#readFilterRules(),
    });
    await listenOn(this.#admin, host, port, 'proxy.admin');
    this.#admin.on('error', (error) => {
      this.noteFault();
      this.#ports.logger.error('the admin API could not accept a connection', { error: error.message });
    });
  }

  #changePhase(request: PhaseRequest): Promise<unknown> {
    const { ledger } = this.#ports;
    return changePhase(
      { ...request, phase: parsePhase(request.phase), withoutProxies: false },
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

  /** Counts a fault that nobody handled. */
  noteFault(): void {
    this.#counters.internalErrors++;
  }

  status(): ProxyStatus {
    const phase = this.#gate?.phase ?? this.#config.proxy.initialPhase;
    return {
      instance: this.#instance,
      startedAt: new Date(this.#counters.startedAtMs).toISOString(),
      phase,
      epoch: this.#gate?.epoch ?? 0,
      isHolding: this.#gate?.isHolding ?? false,
      held: this.#gate?.heldCount ?? 0,
      isListening: this.#server?.isListening ?? false,
      inFlight: this.#gate?.inFlight ?? 0,
      clients: this.#counters.clientConnections,
      preparedStatements: this.#prepared.size,
      protocolVersion: supportOf(NAMES.map((name) => this.#controls[name].facts)).maxVersion,
      clusters: NAMES.map((name) => ({
        name,
        role: primaryOf(phase) === name ? 'primary' : shadowOf(phase) === name ? 'shadow' : 'unused',
        state: this.#controls[name].state,
        connections: this.#clusters[name].connectionCount,
        hosts: this.#clusters[name].hosts,
        error: this.#controls[name].lastError ?? null,
      })),
      failedWrites: {
        journalMessages: this.#journal?.messageCount ?? 0,
        journalBytes: this.#journal?.byteCount ?? 0,
        lost: this.#journal?.lostCount ?? 0,
        setAside: this.#journal?.setAsideCount ?? 0,
        queued: this.#sender?.sentCount ?? 0,
        queueError: this.#sender?.lastError ?? null,
        suspectMarks: this.#marks.count,
        suspectMarksWaiting: this.#marks.pendingCount,
      },
      ledger: { awayMs: this.#watch.ledgerAwayMs, error: this.#watch.lastError ?? null },
      clockSkewMs: this.#clocks.skewMs,
      counters: Object.fromEntries(
        Object.entries(this.#counters).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
      ),
    };
  }
}

/** @throws ConfigError */
function refuseSecureConnectBundles(ports: ProxyPorts): void {
  const issues = NAMES.filter((name) => ports[name].secureConnectBundle !== null).map((name) => ({
    path: `${name}.secureConnectBundle`,
    message: 'the proxy does not connect through a bundle; set contactPoints, port and tls instead',
  }));
  if (issues.length > 0) throw new ConfigError('the configuration of the proxy', issues);
}

function consistencyMap(byName: MigrationConfig['proxy']['targetConsistency']): Map<Consistency, Consistency> {
  return new Map(
    Object.entries(byName).map(([from, to]) => [
      Consistency[from as ConsistencyName],
      Consistency[to as ConsistencyName],
    ]),
  );
}
