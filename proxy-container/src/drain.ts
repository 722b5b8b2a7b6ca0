import type { Server } from 'node:http';
import type { RuntimeWatch } from './admin/runtime-watch.ts';
import type { InFlightLog } from './in-flight/in-flight-log.ts';
import type { DirectoryLock } from './journal/directory-lock.ts';
import type { Durability } from './journal/durability.ts';
import type { Journal } from './journal/journal.ts';
import type { SuspectMarks } from './journal/suspect-marks.ts';
import type { PhaseGate } from './phase/phase-gate.ts';
import type { PhaseWatch } from './phase/phase-watch.ts';
import type { Reads } from './reads/reads.ts';
import type { FilterInForce } from './requests/filter-in-force.ts';
import type { ClusterWatch } from './topology/cluster-watch.ts';
import type { Sisters } from './topology/sisters.ts';
import type { ClientTls } from './transport/client-tls.ts';
import type { CqlServer } from './transport/server.ts';
import { within } from './within.ts';
import type { DualWrite } from './writes/dual-write.ts';
import type { FailedWrites } from './writes/failed-writes.ts';

const DRAIN_CLIENTS_MS = 5_000;
const FLUSH_QUEUE_MS = 8_000;
/** What is left when all connections are closed: thousands of copies become failed writes, a little in each turn. */
const SETTLE_MS = 5_000;
/** For each of the two things that the ledger is told at the end: one that hangs must not keep a host from its restart. */
const LEDGER_MS = 5_000;

/** What a proxy is made of; those that are undefined were not there yet. */
export interface DrainedParts {
  readonly shadowTimeoutMs: number;
  readonly clusterWatch: ClusterWatch;
  readonly sisters: Sisters;
  readonly filter: FilterInForce;
  readonly marks: SuspectMarks;
  readonly durability: Durability;
  readonly watch: PhaseWatch;
  readonly runtime: RuntimeWatch;
  readonly lock: DirectoryLock | undefined;
  readonly inFlight: InFlightLog | undefined;
  readonly journal: Journal | undefined;
  readonly failedWrites: FailedWrites | undefined;
  readonly gate: PhaseGate | undefined;
  readonly reads: Reads | undefined;
  readonly dualWrite: DualWrite | undefined;
  readonly tls: ClientTls | undefined;
  readonly server: CqlServer | undefined;
  readonly admin: Server | undefined;
}

/** Ends a proxy: accepts nobody, finishes what is under way, brings failed writes to the queue, leaves the ledger. */
export async function drain(parts: DrainedParts): Promise<void> {
  const { clusterWatch, failedWrites, gate, marks, durability, watch } = parts;
  parts.reads?.dual.stop();
  await parts.server?.drain(DRAIN_CLIENTS_MS);
  await gate?.untilIdle(parts.shadowTimeoutMs);
  parts.tls?.close();
  parts.filter.close();
  parts.dualWrite?.abandon();
  clusterWatch.closeClusters();
  // Every copy whose connection was closed has become a failed write then.
  await gate?.untilIdle(SETTLE_MS);
  await failedWrites?.idle();
  await Promise.all([parts.journal?.stop(FLUSH_QUEUE_MS), clusterWatch.clocks.stop()]);
  // Behind the journal: what that could not keep is marked.
  await within(LEDGER_MS, Promise.all([marks.flush(), durability.stop()]));
  await parts.inFlight?.close();
  // One that hangs finds the lease over, as of a process that died.
  await within(LEDGER_MS, durability.leaves ? watch.leaveBehind() : watch.stop(durability.owes));
  // Also where the ledger hangs: what it is being told stays on the disk, which may be another process's from here on.
  marks.close();
  await parts.lock?.release();
  await Promise.all([clusterWatch.stop(), parts.sisters.stop()]);
  parts.runtime.stop();
  parts.admin?.closeAllConnections();
  parts.admin?.close();
}
