/** Gates that ask for tables: loaded, validated, marked. */
import type { Phase } from '../config/schema.ts';
import type { GateFacts, SeenTable } from './gate-facts.ts';
import type { Finding } from './gates.ts';
import { primaryOf } from './phase-change.ts';
import { type SuspectRecord, type TableRecord, WHOLE_KEYSPACE } from './records.ts';

/** What is unmet, whichever gates the step asks. */
export function checkTables(_from: Phase, to: Phase, facts: GateFacts): readonly Finding[] {
  const isThere = thereIn(facts);
  const own = { ...facts, tables: facts.tables.filter(isThere), marks: facts.marks.filter(isThere) };
  return [...checkRuns(facts), ...checkRecords(to, own), ...checkMarks(to, own)];
}

/**
 * Not: tables that are on neither cluster any more, or never were, or that a filter leaves on the origin. Nothing could be found
 * out about them, so what they are said to lack would never end.
 */
function thereIn({ clusters, isExcluded }: GateFacts): (one: SeenTable) => boolean {
  const seen = [...(clusters?.tables ?? []), ...(clusters?.differences ?? [])];
  const tables = new Set(seen.map(({ keyspace, table }) => `${keyspace}.${table}`));
  const keyspaces = new Set((clusters?.tables ?? []).map(({ keyspace }) => keyspace));
  const isSeen = (keyspace: string): boolean =>
    keyspaces.has(keyspace) || (clusters?.away.length === 0 && clusters.isEveryKeyspace);
  return ({ keyspace, table }) =>
    table === WHOLE_KEYSPACE ||
    (!isExcluded(keyspace, table) && (!isSeen(keyspace) || tables.has(`${keyspace}.${table}`)));
}

function checkRuns({ loads, owed }: GateFacts): Finding[] {
  return [
    ...loads.map(({ runId, keyspace }) => ({
      gate: 'load-running' as const,
      of: runId,
      text: `load ${runId} of ${keyspace} is under way`,
      remedy: `wait for it, or run: ringshift load stop ${runId}`,
    })),
    ...owed.map(({ keyspace, table, runId, indexes }) => ({
      gate: 'indexes-owed' as const,
      of: `${keyspace}.${table}`,
      text: `load ${runId} has dropped its indexes (${indexes.map(({ name }) => name).join(', ')}), and they are not back`,
      remedy: `wait for it, or run: ringshift indexes restore, or for one that nobody wants: ringshift indexes forget ${keyspace}.${table} NAME`,
    })),
  ];
}

/** Those of the origin, or where it can't be asked those that the ledger knows. */
function tablesOf({ clusters, tables, isExcluded }: GateFacts): readonly SeenTable[] {
  const isSeen = clusters && !clusters.away.some(({ cluster }) => cluster === 'origin');
  const all: readonly SeenTable[] = isSeen ? clusters.tables : tables;
  return all.filter(({ keyspace, table }) => !isExcluded(keyspace, table));
}

/** When the table was last found equal as a whole. */
function validatedAt(record: TableRecord | undefined): string | undefined {
  return record?.validatedAt ?? (record?.state === 'validated' ? record.since : undefined);
}

/**
 * Why a table that was found equal once is to be compared again. Its marks are asked for themselves; one that is suspect
 * without any has a load that failed halfway, or did not bring all rows.
 */
function doubtSince(
  equalAt: string,
  record: TableRecord,
  isMarked: boolean,
): Pick<Finding, 'gate' | 'text'> | undefined {
  const { loadedAt, state, since, reasons } = record;
  if (loadedAt !== undefined && Date.parse(loadedAt) > Date.parse(equalAt)) {
    return {
      gate: 'table-not-validated',
      text: `it was loaded at ${loadedAt}, after it was last found equal (${equalAt})`,
    };
  }
  const { at, reason } = reasons.at(-1) ?? { at: since, reason: 'nobody has said why' };
  if (state !== 'suspect' || isMarked || Date.parse(at) <= Date.parse(equalAt)) return undefined;
  return { gate: 'suspect', text: `${reason} (${at})` };
}

function checkRecords(to: Phase, facts: GateFacts): Finding[] {
  const found: Finding[] = [];
  const marked = new Set(facts.marks.map(({ keyspace, table }) => `${keyspace}.${table}`));
  const records = new Map(facts.tables.map((record) => [`${record.keyspace}.${record.table}`, record]));
  const withoutOriginUntil = endOfTargetOnly(facts);
  for (const { keyspace, table } of tablesOf(facts)) {
    const of = `${keyspace}.${table}`;
    const record = records.get(of);
    const equalAt = validatedAt(record);
    const validate = `ringshift validate start --keyspace ${keyspace}`;
    const isLoaded = record?.loadedAt !== undefined || record?.state === 'loaded' || equalAt !== undefined;
    if (!isLoaded || record?.state === 'loading') {
      found.push({
        gate: 'table-not-loaded',
        of,
        text: record ? `it is ${record.state} since ${record.since}` : 'nothing was ever loaded into it',
        remedy: `ringshift load start, or where both clusters have it already: ${validate}`,
      });
    }
    if (equalAt === undefined) {
      found.push({ gate: 'table-not-validated', of, text: 'it was never found equal as a whole', remedy: validate });
    } else {
      const doubt = record && doubtSince(equalAt, record, marked.has(of));
      if (doubt) found.push({ ...doubt, of, remedy: validate });
    }
    if (primaryOf(to) === 'origin' && withoutOriginUntil !== undefined && (equalAt ?? '') < withoutOriginUntil) {
      found.push({
        gate: 'hole',
        of: `origin:${of}`,
        text: `the origin has not received the writes of target-only, which ended at ${withoutOriginUntil}`,
        remedy: `${validate} --reconcile`,
      });
    }
  }
  for (const { keyspace, table, remigrate } of facts.tables) {
    if (!remigrate) continue;
    const record = records.get(`${keyspace}.${table}`);
    if ((validatedAt(record) ?? '') > remigrate.at) continue;
    found.push({
      gate: 'remigrate',
      of: `${keyspace}.${table}`,
      text: `it must be loaded again: ${remigrate.why} (${remigrate.at})`,
      remedy: `take a snapshot and load it: ringshift load start --keyspace ${keyspace} --table ${table}`,
    });
  }
  return found;
}

/** When the origin began to receive copies again after the last `target-only`; undefined: it always did. */
function endOfTargetOnly({ phase, now }: GateFacts): string | undefined {
  if (phase.active.phase === 'target-only') return now.toISOString();
  const epochs = [...phase.history, phase.active];
  const last = epochs.findLastIndex((epoch) => epoch.phase === 'target-only');
  return epochs[last + 1] && last >= 0 ? epochs[last + 1]?.since : undefined;
}

function checkMarks(to: Phase, { marks }: GateFacts): Finding[] {
  const next = primaryOf(to);
  const byCode = new Map<string, { finding: Finding; count: number }>();
  for (const mark of marks) {
    const finding = findingOf(mark, next);
    if (!finding) continue;
    const key = `${finding.gate}:${finding.of}`;
    byCode.set(key, { finding, count: (byCode.get(key)?.count ?? 0) + 1 });
  }
  return [...byCode.values()].map(({ finding, count }) =>
    count > 1 ? { ...finding, text: `${finding.text} and ${count - 1} more marks` } : finding,
  );
}

function findingOf(mark: SuspectRecord, next: 'origin' | 'target'): Finding | undefined {
  const { keyspace, table, reason, at, code, lacking } = mark;
  const text = `${reason} (${at})`;
  const of = `${keyspace}.${table}`;
  const validate = `ringshift validate start --keyspace ${keyspace}`;
  if (table === WHOLE_KEYSPACE) {
    const remedy = `make the schemas equal, then ringshift schema diff ${keyspace} takes the mark away`;
    return { gate: 'definition-missing', of: keyspace, text, remedy };
  }
  const converge = `stop what writes them, then: ringshift reconcile --counters --quiesced --keyspace ${keyspace}`;
  if (next === 'origin' && lacking === 'origin') {
    const remedy = code === 'counter' ? converge : `${validate} --suspects --reconcile`;
    return { gate: 'hole', of: `origin:${of}`, text, remedy };
  }
  if (code === 'conditional-missing') {
    const remedy = `wait until the queue is empty, then ${validate} takes the mark away`;
    return { gate: 'conditional-missing', of, text, remedy };
  }
  if (lacking !== null && lacking !== undefined && lacking !== next) return undefined;
  if (code === 'counter') {
    return { gate: 'counters-drift', of, text, remedy: converge };
  }
  return { gate: 'suspect', of, text, remedy: `${validate} --suspects --reconcile, then ${validate}` };
}
