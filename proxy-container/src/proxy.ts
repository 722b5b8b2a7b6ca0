import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { MigrationConfig } from '#core/config/schema.ts';
import { gateLimits } from '#core/jobs/gate-facts.ts';
import { refuseRenames } from '#core/model/rename.ts';
import { createAdminServer } from './admin/admin-server.ts';
import type { AdminSubject } from './admin/admin-subject.ts';
import { statusOf } from './admin/proxy-status.ts';
import { QueueDepth } from './admin/queue-depth.ts';
import { RuntimeWatch } from './admin/runtime-watch.ts';
import type { ProxyStatus } from './admin/status.ts';
import { composeServices } from './compose-services.ts';
import { Counters } from './counters/counters.ts';
import type { Definitions } from './definitions/definitions.ts';
import { drain } from './drain.ts';
import type { InFlightLog } from './in-flight/in-flight-log.ts';
import { openInFlight } from './in-flight/open-in-flight.ts';
import { DirectoryLock } from './journal/directory-lock.ts';
import type { Durability } from './journal/durability.ts';
import type { Journal } from './journal/journal.ts';
import { MARKS_FILE } from './journal/marked-places.ts';
import { countLost, openJournal } from './journal/open-journal.ts';
import { SuspectMarks } from './journal/suspect-marks.ts';
import type { PhaseGate } from './phase/phase-gate.ts';
import type { PhaseWatch } from './phase/phase-watch.ts';
import { Registration } from './phase/registration.ts';
import { watchPhase } from './phase/watch-phase.ts';
import { defaultInstance } from './processes/default-instance.ts';
import type { ProxyPorts } from './proxy-ports.ts';
import type { ProxyServices } from './proxy-services.ts';
import { subjectOf } from './proxy-subject.ts';
import type { Reads } from './reads/reads.ts';
import { FilterInForce } from './requests/filter-in-force.ts';
import { PreparedStatements } from './requests/prepared-statements.ts';
import { NO_LOGINS } from './session/login-policy.ts';
import { ClusterWatch } from './topology/cluster-watch.ts';
import { Sisters } from './topology/sisters.ts';
import { ClientTls } from './transport/client-tls.ts';
import { Flusher } from './transport/frame-writer.ts';
import { CqlServer, listenOn } from './transport/server.ts';
import type { DualWrite } from './writes/dual-write.ts';
import { FailedWrites } from './writes/failed-writes.ts';
import { TimestampGenerator } from './writes/timestamps.ts';

/** One proxy instance, put together. */
export class CqlProxy {
  readonly #config: MigrationConfig;
  readonly #ports: ProxyPorts;
  readonly #instance: string;
  readonly #clusterWatch: ClusterWatch;
  readonly #sisters: Sisters;
  readonly #counters: Counters;
  readonly #prepared = new PreparedStatements();
  readonly #timestamps = new TimestampGenerator();
  readonly #flusher = new Flusher();
  readonly #marks: SuspectMarks;
  readonly #registration: Registration;
  readonly #watch: PhaseWatch;
  readonly #durability: Durability;
  readonly #queueDepth: QueueDepth;
  readonly #runtime = new RuntimeWatch();
  readonly #filter: FilterInForce;
  readonly #processId = randomUUID();
  #lock: DirectoryLock | undefined;
  #inFlight: InFlightLog | undefined;
  #journal: Journal | undefined;
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
    this.#counters = ports.counters ?? new Counters();
    this.#instance = config.proxy.instance ?? defaultInstance(process.env);
    this.#filter = new FilterInForce(config.proxy.filterRules);
    this.#queueDepth = new QueueDepth(ports.queue);
    this.#clusterWatch = new ClusterWatch({
      config,
      origin: ports.origin,
      target: ports.target,
      ledger,
      logger,
      counters: this.#counters,
      flusher: this.#flusher,
      timestamps: this.#timestamps,
      filter: () => this.#filter.filter,
      gate: () => this.#gate,
      definitionsIdle: () => this.#definitions?.idle() ?? Promise.resolve(),
      push: (change) => this.#server?.pushSchemaChange(change),
    });
    const { topology, listen } = config.proxy;
    this.#sisters = new Sisters({
      config: topology,
      port: listen.port,
      logger,
      onChange: (change) => this.#server?.pushHostsChange(change, (reached) => this.#sisters.self(reached)),
    });
    const directory = config.failedWrites.journalDir;
    const clock = { nowMillis: () => this.#timestamps.clusterMillis() };
    this.#marks = new SuspectMarks({ ledger, instance: this.#instance, directory, clock, logger });
    this.#registration = new Registration({
      ...{ ledger, instance: this.#instance, processId: this.#processId, logger },
      stopsWithLease: config.proxy.onLedgerLoss === 'stop',
    });
    const { watch, durability } = watchPhase({
      config,
      ledger: this.#registration.ledger,
      instance: this.#instance,
      processId: this.#processId,
      logger,
      counters: this.#counters,
      marks: this.#marks,
      clusterWatch: this.#clusterWatch,
      gate: () => this.#gate,
      failedWrites: () => this.#failedWrites,
      inFlight: () => this.#inFlight,
      journal: () => this.#journal,
      onFenced: (error) => ports.onFenced?.(error),
    });
    this.#watch = watch;
    this.#durability = durability;
  }

  /**
   * Starts in the order in which things need each other; listens last.
   * @throws ConfigError, UsageError, PrerequisiteError, GateClosedError, ClusterUnreachableError,
   *   AuthenticationFailedError, LedgerUnavailableError: what is missing, with the remedy
   */
  async start(): Promise<void> {
    const { ledger, logger } = this.#ports;
    const { proxy, failedWrites } = this.#config;
    refuseRenames(this.#config.renames, 'the proxy');
    await this.#filter.reload(undefined);
    this.#lock = await DirectoryLock.take(failedWrites.journalDir, this.#processId, logger);
    const { deadProcessId } = this.#lock;
    const isDiskNew = !existsSync(join(failedWrites.journalDir, MARKS_FILE));
    await this.#durability.takeOver(deadProcessId, isDiskNew, () => this.#registration.waitForName(deadProcessId));
    const first =
      (await ledger.readPhase()) ?? (await ledger.initPhase(proxy.initialPhase, this.#instance, new Date()));
    if (first.active.phase === 'target-only' && !this.#filter.filter.isEmpty) {
      logger.error('filter rules are in force in target-only: requests for what they exclude are refused', {});
    }
    await this.#clusterWatch.connect(first.active.phase);
    // First: what the journal finds in doubt is added to them.
    await this.#marks.restore();
    const journal = await this.#openJournal();
    this.#journal = journal;
    // Before a client is listened to: what was under way is in the journal, and write times go on where they were.
    const inFlight = await openInFlight({
      ...{ failedWrites, journal, logger, instance: this.#instance, marks: this.#marks },
      ...{ timestamps: this.#timestamps, flusher: this.#flusher, counters: this.#counters.log },
      facts: this.#clusterWatch.facts,
    });
    this.#inFlight = inFlight;
    // Before this proxy is registered: one that can't start must not be waited for by a change of phase.
    await this.#listenAdmin();
    this.#gate = await this.#watch.begin(first);
    this.#clusterWatch.controls.follow(this.#gate.phase);
    const services = this.#services(this.#gate, journal, inFlight);
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
    this.#durability.start();
    this.#clusterWatch.start();
    this.#filter.watch(logger, () => this.#gate?.phase);
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
    await drain({
      shadowTimeoutMs: this.#config.proxy.shadowTimeoutMs,
      clusterWatch: this.#clusterWatch,
      sisters: this.#sisters,
      filter: this.#filter,
      marks: this.#marks,
      durability: this.#durability,
      watch: this.#watch,
      runtime: this.#runtime,
      lock: this.#lock,
      inFlight: this.#inFlight,
      journal: this.#journal,
      failedWrites: this.#failedWrites,
      gate: this.#gate,
      reads: this.#reads,
      dualWrite: this.#dualWrite,
      tls: this.#tls,
      server: this.#server,
      admin: this.#admin,
    });
  }

  #openJournal(): Promise<Journal> {
    const counters = this.#counters;
    const owner = { instance: this.#instance, processId: this.#processId };
    return openJournal(this.#config, this.#ports, owner, this.#marks, {
      onKept: (writes) => {
        counters.journaled += writes;
      },
      onLost: (lost) => countLost(counters, lost),
      onDone: (sequence) => this.#inFlight?.done(sequence),
    });
  }

  #services(gate: PhaseGate, journal: Journal, inFlight: InFlightLog): ProxyServices {
    const { logger, ledger, maxMessageBytes } = this.#ports;
    const { clusters, controls, face, agreement, facts } = this.#clusterWatch;
    const shared = { marks: this.#marks, facts, counters: this.#counters, logger };
    this.#failedWrites = new FailedWrites({ ...shared, inFlight, journal, maxMessageBytes });
    return composeServices({
      ...shared,
      config: this.#config,
      instance: this.#instance,
      ledger,
      gate,
      clusters,
      controls,
      face,
      agreement,
      sisters: this.#sisters,
      prepared: this.#prepared,
      timestamps: this.#timestamps,
      flusher: this.#flusher,
      logins: this.#ports.logins ?? NO_LOGINS,
      failedWrites: this.#failedWrites,
      inFlight,
      filter: () => this.#filter.filter,
      writtenTables: this.#durability.writtenTables,
      isFenced: () => this.#registration.mayNotServe,
    });
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
    return subjectOf({
      ledger: this.#ports.ledger,
      watch: this.#watch,
      filter: this.#filter,
      gates: { ...this.#ports, limits: gateLimits(this.#config) },
      logger: this.#ports.logger,
      counters: this.#counters,
      runtime: this.#runtime,
      zdmPrefix: this.#config.proxy.admin.zdmMetricsPrefix,
      status: () => this.status(),
      reloadCertificates: () => [
        ...(this.#tls ? [this.#tls.reload()] : []),
        ...this.#clusterWatch.reloadCertificates(),
      ],
      phase: () => this.#gate?.phase,
    });
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
    const { clusters, controls, face, clocks } = this.#clusterWatch;
    return statusOf({
      instance: this.#instance,
      initialPhase: this.#config.proxy.initialPhase,
      clusters,
      controls,
      face,
      clocks,
      filter: this.#filter,
      counters: this.#counters,
      prepared: this.#prepared,
      marks: this.#marks,
      watch: this.#watch,
      isDraining: this.#isStopping,
      queue: this.#queueDepth.last,
      gate: this.#gate,
      reads: this.#reads,
      server: this.#server,
      journal: this.#journal,
      inFlight: this.#inFlight,
      writtenTables: this.#durability.writtenTables,
    });
  }
}
