import type { MigrationConfig } from '#core/config/schema.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf } from '#core/ledger/phase-change.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from './counters/counters.ts';
import { DefinitionTurns } from './definitions/definition-turns.ts';
import { Definitions } from './definitions/definitions.ts';
import type { InFlight } from './in-flight/in-flight-port.ts';
import { WriteNotes } from './in-flight/write-notes.ts';
import type { SuspectMarks } from './journal/suspect-marks.ts';
import type { ProxyServices } from './proxy-services.ts';
import { DualReads } from './reads/dual-reads.ts';
import { Reads } from './reads/reads.ts';
import { UsualReads } from './reads/usual-read.ts';
import { Expiry } from './requests/expiry.ts';
import type { SchemaAgreement } from './schema/schema-agreement.ts';
import type { SchemaFacts } from './schema/schema-facts.ts';
import { consistencyMap } from './settings.ts';
import { SystemTables } from './system-tables/system-tables.ts';
import type { ClusterFace } from './topology/cluster-face.ts';
import type { Sisters } from './topology/sisters.ts';
import type { ControlConnections } from './upstream/control-connections.ts';
import { DualWrite } from './writes/dual-write.ts';
import type { FailedWrites } from './writes/failed-writes.ts';
import { ListOrder } from './writes/list-order.ts';
import { ReadBacks } from './writes/read-backs.ts';
import { ShadowWriter } from './writes/shadow-writer.ts';
import type { TimestampGenerator } from './writes/timestamps.ts';
import { UsualWrites } from './writes/usual-write.ts';

type Shared = Pick<
  ProxyServices,
  | 'clusters'
  | 'gate'
  | 'prepared'
  | 'counters'
  | 'logger'
  | 'flusher'
  | 'logins'
  | 'filter'
  | 'writtenTables'
  | 'isFenced'
>;

/** What the data path is made of. */
export interface ServiceParts extends Shared {
  readonly config: MigrationConfig;
  readonly instance: string;
  readonly ledger: Ledger;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly controls: ControlConnections;
  readonly timestamps: TimestampGenerator;
  readonly marks: SuspectMarks;
  readonly facts: SchemaFacts;
  readonly failedWrites: FailedWrites;
  readonly inFlight: InFlight;
  readonly face: ClusterFace;
  readonly agreement: SchemaAgreement;
  readonly sisters: Sisters;
}

/** Puts together what all client sessions share. */
export function composeServices(parts: ServiceParts): ProxyServices {
  const { config, gate, counters, logger, failedWrites, prepared, controls, face, agreement, sisters } = parts;
  const { proxy } = config;
  const notes = new WriteNotes(parts.inFlight, parts.facts);
  const shadows = new ShadowWriter({
    notes,
    timeoutMs: proxy.shadowTimeoutMs,
    gate,
    failedWrites,
    lists: new ListOrder(),
    facts: parts.facts,
    counters,
    logger,
  });
  const requestTimeoutMs = { origin: config.origin.requestTimeoutMs, target: config.target.requestTimeoutMs };
  const readBacks = new ReadBacks({
    notes,
    gate,
    failedWrites,
    facts: parts.facts,
    timestamps: parts.timestamps,
    counters,
    logger,
    readTimeoutMs: requestTimeoutMs,
    shadowTimeoutMs: proxy.shadowTimeoutMs,
  });
  const writes = {
    notes,
    facts: parts.facts,
    lists: new ListOrder(),
    gate,
    shadows,
    failedWrites,
    readBacks,
    counters,
    requestTimeoutMs,
  };
  const dualWrite = new DualWrite({ dualSync: proxy.dualSync, ...writes });
  const requestContext = {
    prepared,
    timestamps: parts.timestamps,
    expiry: new Expiry(parts.facts),
    targetConsistency: consistencyMap(proxy.targetConsistency),
  };
  const longestTimeoutMs = Math.max(requestTimeoutMs.origin, requestTimeoutMs.target);
  const reads = new Reads({
    counters,
    requestTimeoutMs: longestTimeoutMs,
    dual: new DualReads({
      reads: proxy.reads,
      timeoutMs: longestTimeoutMs,
      settleMs: 2 * proxy.shadowTimeoutMs,
      gate,
      marks: parts.marks,
      counters,
      logger,
      filter: parts.filter,
      sameTokenOrder: () => sameTokenOrder(controls),
    }),
  });
  return {
    clusters: parts.clusters,
    gate,
    prepared,
    requestContext,
    reads,
    dualWrite,
    usualWrites: new UsualWrites({
      context: requestContext,
      gate,
      dualWrite,
      shadows,
      counters,
      flusher: parts.flusher,
      notes,
      requestTimeoutMs,
      filter: parts.filter,
    }),
    usualReads: new UsualReads({
      context: requestContext,
      gate,
      reads,
      counters,
      flusher: parts.flusher,
      filter: parts.filter,
    }),
    definitions: new Definitions({
      policy: proxy.ddl,
      targetReplication: proxy.targetReplication,
      turns: new DefinitionTurns(parts.ledger.store, parts.instance),
      controls: controls.of,
      agreement,
      ledger: parts.ledger,
      marks: parts.marks,
      facts: parts.facts,
      counters,
      logger,
    }),
    counters,
    logger,
    flusher: parts.flusher,
    backlog: counters.backlog,
    logins: parts.logins,
    requestTimeoutMs: longestTimeoutMs,
    support: () => face.support,
    systemTables: new SystemTables({
      cluster: () => face.shown,
      maxVersion: () => face.support.maxVersion,
      hosts: () => sisters.hosts,
      self: (reached) => sisters.self(reached),
      schema: agreement,
    }),
    filter: parts.filter,
    primary: primaryOf,
    writtenTables: parts.writtenTables,
    isFenced: parts.isFenced,
  };
}

/** Unknown while one of them has not said it. */
function sameTokenOrder({ of }: ControlConnections): boolean {
  const origin = of.origin.facts?.shown.partitioner;
  return origin !== undefined && origin === of.target.facts?.shown.partitioner;
}
