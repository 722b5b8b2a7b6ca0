/** What the ledger holds, as it is stored. Every record carries a version; unknown versions are refused, not guessed. */
import { z } from 'zod';
import { phases } from '../config/schema.ts';
import { LedgerUnavailableError } from '../errors.ts';
import { reasonCodes } from './reasons.ts';

const isoTime = z.iso.datetime();
const phase = z.enum(phases);

const epoch = z.looseObject({
  epoch: z.int().min(1),
  phase,
  since: isoTime,
  by: z.string(),
  why: z.string(),
  /** Codes of the gates that were closed and passed nevertheless. */
  forced: z.array(z.string()).optional(),
});

/** `phase.json`: the phase in force, the one proposed, and the marks that a bulk load needs. */
export const phaseRecordSchema = z.looseObject({
  version: z.literal(1),
  active: epoch,
  /** Waiting for every proxy to drain the old epoch; taken back by whoever sees that it has expired. */
  proposal: epoch.extend({ expiresAt: isoTime.nullable().default(null) }).nullable(),
  /** The highest epoch ever proposed. A number is never used again, or old acknowledgements would count for it. */
  lastEpoch: z.int().min(0).default(0),
  /** When `dual-async` was activated after `origin-only`: no shadow write is older. Null while there are none. */
  dualWritesSince: isoTime.nullable(),
  /** When every registered proxy was seen acting on it: a snapshot taken later holds all that was not shadowed. */
  dualWritesSettledAt: isoTime.nullable(),
  history: z.array(epoch),
});
export type PhaseRecord = z.output<typeof phaseRecordSchema>;
export type PhaseEpoch = z.output<typeof epoch>;
export type PhaseProposal = NonNullable<PhaseRecord['proposal']>;

/** `proxies/<instance>.json`. An expired lease is not an absence: see the phase change. */
export const proxyRecordSchema = z.looseObject({
  version: z.literal(1),
  instance: z.string().min(1),
  /** Made anew by each process, so that two of one name are told apart. Absent in older records. */
  processId: z.string().min(1).optional(),
  startedAt: isoTime,
  leaseUntil: isoTime,
  /** The epoch whose predecessor this proxy has drained; it holds requests until that epoch is activated. */
  drainedForEpoch: z.int().min(0),
  /** The epoch that this proxy acts on. */
  actingEpoch: z.int().min(0),
  counters: z.record(z.string(), z.number()).default({}),
  /** Whether its disk outlives it; absent: it does. */
  storage: z.enum(['volume', 'ephemeral']).optional(),
  /** Of an ephemeral one: what failed before is in the queue, and every mark in the ledger. */
  durableAt: isoTime.optional(),
  /** Of an ephemeral one: KEYSPACE.TABLE of all that it may have written since its start, or `ANY_TABLE` alone. */
  tables: z.array(z.string()).optional(),
  /** Failed writes that have not reached the queue. */
  journal: z.object({ messages: z.number(), bytes: z.number(), oldestAt: isoTime.nullable() }).optional(),
  /** Marks that have not reached the ledger. */
  marksWaiting: z.number().optional(),
  /** It can't note the writes under way: a crash would leave no list of them. */
  isBlind: z.boolean().optional(),
  /** How far the clock of each cluster's nodes is from its own, at most. Milliseconds. */
  skewMs: z.object({ origin: z.number().optional(), target: z.number().optional() }).optional(),
  /** When a copy to each cluster failed the last time. */
  lastShadowFailureAt: z.object({ origin: isoTime.optional(), target: isoTime.optional() }).optional(),
  /** Somebody has declared it dead: it must not serve any more, and its process may not register again. */
  fencedAt: isoTime.optional(),
  /** It refuses every request when its lease is over (`onLedgerLoss: stop`). */
  stopsWithLease: z.boolean().optional(),
  /** Its lease was over, and what it may have taken with it is marked. */
  vanishedAt: isoTime.optional(),
});
export type ProxyRecord = z.output<typeof proxyRecordSchema>;

export const tableStates = ['pending', 'loading', 'loaded', 'validated', 'suspect'] as const;
export type TableState = (typeof tableStates)[number];

/** `tables/<keyspace>.<table>.json`. */
export const tableRecordSchema = z.looseObject({
  version: z.literal(1),
  keyspace: z.string(),
  table: z.string(),
  state: z.enum(tableStates),
  since: isoTime,
  runId: z.string().nullable(),
  /** Why it is suspect, or what is special; newest last, bounded. */
  reasons: z.array(z.object({ at: isoTime, reason: z.string(), by: z.string() })),
  loadedAt: isoTime.optional(),
  /** Start of the last comparison of the whole table that found it equal. */
  validatedAt: isoTime.optional(),
  /** It must be loaded again from a snapshot that is younger than this. */
  remigrate: z.object({ at: isoTime, why: z.string(), by: z.string() }).optional(),
  /** When the proxies saw the last TRUNCATE, and the last change of its definition. */
  truncatedAt: isoTime.optional(),
  definedAt: isoTime.optional(),
  /** Its place in the plan of a load; smaller ones come first. */
  order: z.number().optional(),
});
export type TableRecord = z.output<typeof tableRecordSchema>;

export const runKinds = ['load', 'validation'] as const;
export type RunKind = (typeof runKinds)[number];

/** `runs/<runId>.json`. */
export const runRecordSchema = z.object({
  version: z.literal(1),
  runId: z.string().min(1),
  kind: z.enum(runKinds),
  keyspace: z.string(),
  tables: z.array(z.string()),
  state: z.enum(['running', 'done', 'failed', 'differences', 'stopped']),
  startedAt: isoTime,
  endedAt: isoTime.nullable(),
  /** null until the plan is written: of a run that was never planned nothing is known. */
  rangeCount: z.int().min(0).nullable(),
  /** Ranges of each table in the plan; a resumed load has none for tables that were finished before. Absent in older records. */
  rangesByTable: z.record(z.string(), z.int().min(0)).nullable().optional(),
  totalBytes: z.number().min(0),
  /** What its plan had to say; absent in older records. */
  warnings: z.array(z.string()).optional(),
  /** Secondary indexes of the target that are dropped before the first range and built again after the last. */
  rebuildIndexes: z.array(z.object({ keyspace: z.string(), table: z.string(), name: z.string() })).optional(),
  /** The execution input, for resume and for reports. */
  input: z.record(z.string(), z.unknown()),
});
export type RunRecord = z.output<typeof runRecordSchema>;

/** `active/<kind>.<keyspace>.json`: the only run of its kind on the keyspace. */
export const lockSchema = z.object({
  runId: z.string().min(1),
  /** When it was taken; null in older records. */
  at: isoTime.nullable().default(null),
});

/** `ranges/<runId>/<index>.json`: the checkpoint while it runs, the result when it is done. */
export const rangeRecordSchema = z.object({
  version: z.literal(1),
  runId: z.string().min(1),
  index: z.int().min(0),
  keyspace: z.string(),
  table: z.string(),
  state: z.enum(['running', 'done', 'failed']),
  /** Everything up to and including this token is finished. Decimal text; of a load perhaps a place in a partition behind it. */
  checkpoint: z.string().nullable(),
  counts: z.record(z.string(), z.number()),
  error: z.object({ name: z.string(), message: z.string() }).nullable(),
  updatedAt: isoTime,
});
export type RangeRecord = z.output<typeof rangeRecordSchema>;

/** In the list of what a proxy has written: more tables than it counts apart. */
export const ANY_TABLE = '*';

/** In the place of a table: a definition (type, function, keyspace) is on one cluster only. */
export const WHOLE_KEYSPACE = '*';

/** `suspects/<keyspace>.<table>/<id>.json`: a place of the ring to compare and copy again. */
export const suspectRecordSchema = z.looseObject({
  version: z.literal(1),
  keyspace: z.string(),
  table: z.string(),
  /** The token range (start, end] as decimal texts; null: what `tokens` and `buckets` say, or else the whole ring. */
  range: z.object({ start: z.string(), end: z.string() }).nullable(),
  /** Single partitions, as decimal texts. */
  tokens: z
    .array(z.string().regex(/^-?\d{1,19}$/))
    .max(1024)
    .optional(),
  /** Base64 of the deflated bitmap of 65,536 equal parts of the ring, see `bucketOf`. */
  buckets: z.string().optional(),
  reason: z.string(),
  /** Absent in older records. */
  code: z.enum(reasonCodes).optional(),
  /** The cluster that may lack something; absent or null: either. */
  lacking: z.enum(['origin', 'target']).nullable().optional(),
  by: z.string(),
  /** The first time, where there were several. */
  from: isoTime.optional(),
  /** The last time: a comparison that began before it has not looked at it. */
  at: isoTime,
  /** A comparison has looked at all of it: it counts no more. Its writer may write it again, without this. */
  clearedAt: isoTime.optional(),
});
export type SuspectRecord = z.output<typeof suspectRecordSchema>;

const shownCluster = z.object({
  clusterName: z.string(),
  datacenter: z.string(),
  rack: z.string(),
  releaseVersion: z.string(),
  cqlVersion: z.string(),
  /** Class name. */
  partitioner: z.string(),
});
/** What drivers see of the cluster behind the proxies, in every phase and at every instance. */
export type ShownCluster = z.output<typeof shownCluster>;

const offer = z.object({
  /** The highest protocol version. */
  maxVersion: z.int().min(1),
  cqlVersions: z.array(z.string()),
  /** null: it names none. */
  compressions: z.array(z.string()).nullable(),
});
/** What a cluster offers to drivers. */
export type ClusterOffer = z.output<typeof offer>;

/** `face.json`: taken from the clusters once, so that no change of phase is seen by a driver. */
export const faceRecordSchema = z.object({
  version: z.literal(1),
  shown: shownCluster,
  takenFrom: z.enum(['origin', 'target']),
  at: isoTime,
  /** By cluster, as it was last seen: a cluster that is away, or given up, still bounds what is offered. */
  offers: z.object({ origin: offer.optional(), target: offer.optional() }),
});
export type FaceRecord = z.output<typeof faceRecordSchema>;

/**
 * Parses a stored record.
 * @throws LedgerUnavailableError naming the key when the text is not such a record
 */
export function parseRecord<S extends z.ZodType>(schema: S, key: string, text: string): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new LedgerUnavailableError(`the ledger's record ${key} is not JSON`, { cause, context: { key } });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const first = result.error.issues[0];
  throw new LedgerUnavailableError(
    `the ledger's record ${key} is not understood: ${first?.path.join('.')}: ${first?.message}; was it written by another release?`,
    { context: { key } },
  );
}
