import type { Phase } from '#core/config/schema.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import type { Counters } from '../counters/counters.ts';
import type { InFlightLog } from '../in-flight/in-flight-log.ts';
import type { Journal } from '../journal/journal.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { WrittenTables } from '../journal/written-tables.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { PhaseWatch } from '../phase/phase-watch.ts';
import type { Reads } from '../reads/reads.ts';
import type { FilterInForce } from '../requests/filter-in-force.ts';
import type { PreparedStatements } from '../requests/prepared-statements.ts';
import type { Clusters } from '../session/session-upstreams.ts';
import type { ClusterFace } from '../topology/cluster-face.ts';
import type { CqlServer } from '../transport/server.ts';
import { CLUSTER_NAMES, type ControlConnections } from '../upstream/control-connections.ts';
import type { ClockWatch } from '../writes/clock-watch.ts';
import type { ProxyStatus } from './status.ts';

/** The parts of a proxy that have something to say; those that are undefined are not there yet. */
export interface StatusSources {
  readonly instance: string;
  readonly initialPhase: Phase;
  readonly clusters: Clusters;
  readonly controls: ControlConnections;
  readonly face: ClusterFace;
  readonly counters: Counters;
  readonly prepared: PreparedStatements;
  readonly marks: SuspectMarks;
  readonly watch: PhaseWatch;
  readonly clocks: ClockWatch;
  readonly filter: FilterInForce;
  readonly isDraining: boolean;
  readonly queue: ProxyStatus['queue'];
  readonly gate: PhaseGate | undefined;
  readonly reads: Reads | undefined;
  readonly server: CqlServer | undefined;
  readonly journal: Journal | undefined;
  readonly inFlight: InFlightLog | undefined;
  readonly writtenTables: WrittenTables | undefined;
}

/** What `/status` shows of a proxy at this moment. */
export function statusOf(sources: StatusSources): ProxyStatus {
  const { gate, server, journal, inFlight, counters, controls, clusters, marks, watch, writtenTables } = sources;
  const phase = gate?.phase ?? sources.initialPhase;
  const health = journal?.health;
  return {
    instance: sources.instance,
    pid: process.pid,
    startedAt: new Date(counters.startedAtMs).toISOString(),
    phase,
    epoch: gate?.epoch ?? 0,
    isHolding: gate?.isHolding ?? false,
    held: (gate?.heldCount ?? 0) + (writtenTables?.heldCount ?? 0),
    heldBytes: (gate?.heldBytes ?? 0) + (writtenTables?.heldBytes ?? 0),
    isListening: server?.isListening ?? false,
    isDraining: sources.isDraining,
    inFlight: gate?.inFlight ?? 0,
    clients: counters.clientConnections,
    preparedStatements: sources.prepared.size,
    preparedBytes: sources.prepared.byteCount,
    preparedEvictions: sources.prepared.evictionCount,
    protocolVersion: sources.face.support.maxVersion,
    clusters: CLUSTER_NAMES.map((name) => ({
      name,
      role: primaryOf(phase) === name ? 'primary' : shadowOf(phase) === name ? 'shadow' : 'unused',
      state: controls.of[name].state,
      connections: clusters[name].connectionCount,
      inFlight: clusters[name].inFlightCount,
      hosts: clusters[name].hosts,
      error: controls.of[name].lastError ?? null,
    })),
    failedWrites: {
      journalMessages: health?.messages ?? 0,
      journalBytes: health?.bytes ?? 0,
      journalOldestAt: isoTime(health?.oldestAtMs),
      journalError: health?.diskError ?? null,
      unreadable: health?.unreadable ?? 0,
      setAside: health?.setAside ?? 0,
      queued: health?.sent ?? 0,
      queueError: health?.queueError ?? null,
      lastQueuedAt: isoTime(health?.lastSentAtMs),
      suspectMarks: marks.count,
      suspectMarksWaiting: marks.pendingCount,
    },
    inFlightLog: {
      open: inFlight?.openCount ?? 0,
      bytes: inFlight?.bytes ?? 0,
      isBlind: inFlight?.isBlind ?? false,
      flushError: inFlight?.flushError ?? null,
    },
    queue: sources.queue,
    reads: { ...counters.reading, differences: sources.reads?.dual.log.shown ?? [] },
    ledger: { awayMs: watch.ledgerAwayMs, error: watch.lastError ?? null },
    filterRules: { error: sources.filter.fault ?? null },
    clockSkewMs: sources.clocks.skewMs,
    counters: Object.fromEntries(
      Object.entries(counters).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
    ),
  };
}

function isoTime(ms: number | null | undefined): string | null {
  return ms == null ? null : new Date(ms).toISOString();
}
