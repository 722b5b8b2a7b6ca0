import { compareTable } from '../checksum/compared-table.ts';
import { type DifferenceLine, parseDifferenceLines, partitionOfLine } from '../checksum/difference-line.ts';
import type { Authority } from '../checksum/repair.ts';
import type { Phase } from '../config/schema.ts';
import { GateClosedError, ObjectStoreError } from '../errors.ts';
import type { RangeRecord } from '../ledger/records.ts';
import type { Consistency } from '../model/cql-request.ts';
import { repairPartitions } from './repair-partitions.ts';
import { readValidationTable, runKeys, type ValidationItem } from './validation-plan.ts';
import type { ValidationOptions, ValidationPorts } from './validation-ports.ts';

export interface ReconcileOptions extends ValidationOptions {
  readonly originWriteConsistency: Consistency;
  readonly targetWriteConsistency: Consistency;
  /** Whose state is right; `authorityOf` the phase in force. */
  readonly authority: Authority;
}

/** How the repair of a range ended. */
export type ReconcileOutcome =
  | { readonly kind: 'done'; readonly counts: ReconcileCounts }
  /** `next`: how many of the range's listed partitions are finished, decimal. */
  | { readonly kind: 'checkpoint'; readonly next: string; readonly counts: ReconcileCounts };

export interface ReconcileCounts extends Record<string, number> {
  /** Listed partitions that are the same now. */
  repaired: number;
  /** Those that still differ after the last round, or can't be repaired here. */
  unrepaired: number;
  statements: number;
}

const CHUNK_PARTITIONS = 100;

/**
 * The cluster that the application reads from decides what is right.
 * @throws GateClosedError at `target-only`, where the origin is no longer written
 */
export function authorityOf(phase: Phase | undefined): Authority {
  if (phase === 'target-only') {
    throw new GateClosedError('reconcile', ['the phase is target-only: the origin is not kept up any more']);
  }
  return phase === 'target-primary' ? 'target' : 'origin';
}

/**
 * Repairs the partitions that a range's validation listed: reads both clusters again, writes what is missing, reads
 * again, until they are the same. The counts go to the ledger's record of the range.
 */
export async function reconcileRange(
  item: ValidationItem,
  checkpoint: string | null,
  ports: ValidationPorts,
  options: ReconcileOptions,
  signal?: AbortSignal,
): Promise<ReconcileOutcome> {
  const record = await ports.ledger.readRange(item.runId, item.index);
  const lines = await readRangeDifferences(ports.objects, item.runId, item.index, record?.counts['parts'] ?? 0);
  const manifest = await readValidationTable(ports.objects, item.tableKey);
  const table = compareTable(manifest.schema, manifest);
  if (manifest.schema.isCounter && lines.length > 0) return leaveCounters(item, lines.length, ports);
  const counts: ReconcileCounts = {
    repaired: checkpoint === null ? 0 : (record?.counts['repaired'] ?? 0),
    unrepaired: checkpoint === null ? 0 : (record?.counts['unrepaired'] ?? 0),
    statements: checkpoint === null ? 0 : (record?.counts['statements'] ?? 0),
  };
  const repair = { ...options, compareWriteTime: manifest.compareWriteTime, readsTwice: false };
  let at = Number(checkpoint ?? 0);
  let isLate = false;
  while (at < lines.length && !isLate) {
    const chunk = lines.slice(at, at + CHUNK_PARTITIONS);
    const partitions = chunk.map((line) => partitionOfLine(line).keyValues);
    const results = await repairPartitions(table, partitions, ports, repair, signal);
    for (const { isSame, statements } of results) {
      if (isSame) counts.repaired++;
      else counts.unrepaired++;
      counts.statements += statements;
    }
    at += chunk.length;
    isLate = options.deadlineMillis !== undefined && ports.clock.nowMillis() >= options.deadlineMillis;
  }
  await noteCounts(record, counts, ports);
  return at < lines.length ? { kind: 'checkpoint', next: String(at), counts } : { kind: 'done', counts };
}

/** Counters can only be brought together while nothing writes them; the keyspace's other tables need not wait for that. */
async function leaveCounters(
  item: ValidationItem,
  unrepaired: number,
  ports: ValidationPorts,
): Promise<ReconcileOutcome> {
  const { keyspace, table } = item;
  ports.logger.warn(
    'counters are not repaired here; stop their writers, then: ringshift reconcile --counters --quiesced',
    { keyspace, table, differing: unrepaired },
  );
  const counts: ReconcileCounts = { repaired: 0, unrepaired, statements: 0, counters: unrepaired };
  await noteCounts(await ports.ledger.readRange(item.runId, item.index), counts, ports);
  return { kind: 'done', counts };
}

async function noteCounts(
  record: RangeRecord | undefined,
  counts: ReconcileCounts,
  { ledger, clock }: Pick<ValidationPorts, 'ledger' | 'clock'>,
): Promise<void> {
  if (record === undefined) return;
  const updatedAt = new Date(clock.nowMillis()).toISOString();
  await ledger.putRange({ ...record, counts: { ...record.counts, ...counts }, updatedAt });
}

/** The differing partitions that a range's validation listed, from all its files. */
export async function readRangeDifferences(
  objects: ValidationPorts['objects'],
  runId: string,
  index: number,
  parts: number,
): Promise<DifferenceLine[]> {
  const lines: DifferenceLine[] = [];
  for (let part = 0; part < parts; part++) {
    const key = runKeys.differences(runId, index, part);
    const body = await objects.get(key);
    if (!body) throw new ObjectStoreError(`${objects.name}/${key} does not exist`, { context: { key } });
    lines.push(...parseDifferenceLines(body, `${objects.name}/${key}`));
  }
  return lines;
}
