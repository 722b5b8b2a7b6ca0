import type { MigrationConfig } from '#core/config/schema.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { primaryOf } from '#core/ledger/phase-change.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from './counters.ts';
import { Definitions } from './definitions.ts';
import { DualWrite } from './dual-write.ts';
import type { FailedWrites } from './failed-writes.ts';
import type { SuspectMarks } from './journal/suspect-marks.ts';
import type { ProxyServices } from './proxy-services.ts';
import { Reads } from './reads/reads.ts';
import type { SchemaFacts } from './schema-facts.ts';
import { consistencyMap } from './settings.ts';
import { ShadowWriter } from './shadow-writer.ts';
import { supportOf } from './support.ts';
import type { TimestampGenerator } from './timestamps.ts';
import { CLUSTER_NAMES, type ControlConnections } from './upstream/control-connections.ts';

type Shared = Pick<
  ProxyServices,
  'clusters' | 'gate' | 'prepared' | 'counters' | 'logger' | 'flusher' | 'filter' | 'isFenced'
>;

/** What the data path is made of. */
export interface ServiceParts extends Shared {
  readonly config: MigrationConfig;
  readonly ledger: Ledger;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly controls: ControlConnections;
  readonly timestamps: TimestampGenerator;
  readonly marks: SuspectMarks;
  readonly facts: SchemaFacts;
  readonly failedWrites: FailedWrites;
}

/** Puts together what all client sessions share. */
export function composeServices(parts: ServiceParts): ProxyServices {
  const { config, gate, counters, logger, failedWrites, prepared, controls } = parts;
  const { proxy } = config;
  const shadows = new ShadowWriter({ timeoutMs: proxy.shadowTimeoutMs, gate, failedWrites, counters, logger });
  const requestTimeoutMs = { origin: config.origin.requestTimeoutMs, target: config.target.requestTimeoutMs };
  const longestTimeoutMs = Math.max(requestTimeoutMs.origin, requestTimeoutMs.target);
  return {
    clusters: parts.clusters,
    gate,
    prepared,
    requestContext: {
      prepared,
      timestamps: parts.timestamps,
      targetConsistency: consistencyMap(proxy.targetConsistency),
    },
    reads: new Reads({ counters, requestTimeoutMs: longestTimeoutMs }),
    dualWrite: new DualWrite({ dualSync: proxy.dualSync, gate, shadows, failedWrites, counters, requestTimeoutMs }),
    definitions: new Definitions({
      policy: proxy.ddl,
      controls: controls.of,
      ledger: parts.ledger,
      marks: parts.marks,
      facts: parts.facts,
      counters,
      logger,
    }),
    counters,
    logger,
    flusher: parts.flusher,
    requestTimeoutMs: longestTimeoutMs,
    support: () => supportOf(CLUSTER_NAMES.map((name) => controls.of[name].facts)),
    filter: parts.filter,
    primary: primaryOf,
    isFenced: parts.isFenced,
  };
}
