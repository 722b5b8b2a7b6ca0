/** Which secondary indexes a load drops and rebuilds. */

import type { IndexList } from '../config/index-list.ts';
import { ConfigError, type ConfigIssue } from '../errors.ts';
import { primaryOf } from '../ledger/phase-change.ts';
import type { PhaseRecord } from '../ledger/records.ts';
import type { SavedIndexes } from '../ledger/saved-indexes.ts';
import { createIndexStatement, type IndexDefinition } from '../model/index-definition.ts';
import type { LoadInput } from './load-plan.ts';
import type { PlanLoadOptions } from './load-planning.ts';

/** An index by its table on the target. */
export interface IndexName extends TargetTable {
  readonly name: string;
}

export interface ChosenIndexes {
  /** What the run has to bring back at its end. */
  readonly rebuilt: readonly IndexName[];
  /** For people: those that stay, and what that costs. */
  readonly warnings: readonly string[];
}

export interface IndexChoice {
  readonly setting: 'rebuild' | 'skip';
  /** undefined: every index of the tables that are loaded. */
  readonly list: IndexList | undefined;
  /** Whether reads of the application are answered by the target; then its indexes are needed. */
  readonly targetServesReads: boolean;
  /** What loads that have ended have dropped and not brought back. */
  readonly owed: readonly SavedIndexes[];
}

/** The choice of a run: its input goes before the configuration. */
export function planIndexes(
  input: LoadInput,
  options: PlanLoadOptions,
  phase: PhaseRecord | undefined,
  tables: readonly TargetTable[],
  indexes: readonly IndexDefinition[],
  owed: readonly SavedIndexes[],
): ChosenIndexes {
  const choice: IndexChoice = {
    owed,
    setting: input.indexes ?? options.indexes,
    list: input.indexList ?? options.indexList,
    targetServesReads: phase !== undefined && primaryOf(phase.active.phase) === 'target',
  };
  return chooseIndexes(choice, tables, indexes);
}

/** A table by its name on the target. */
interface TargetTable {
  readonly keyspace: string;
  readonly table: string;
}

/**
 * Only indexes of tables that are loaded are touched. Those of materialized views don't exist; views themselves are
 * never dropped. What ended loads owe of loaded tables is brought back by this one; what they owe elsewhere is told.
 * @param tables the loaded tables, by their names on the target
 * @param indexes all secondary indexes of their keyspaces
 * @throws ConfigError naming each entry of the list without an index on the target
 */
export function chooseIndexes(
  choice: IndexChoice,
  tables: readonly TargetTable[],
  indexes: readonly IndexDefinition[],
): ChosenIndexes {
  const isLoaded = (at: TargetTable) =>
    tables.some(({ keyspace, table }) => keyspace === at.keyspace && table === at.table);
  const own = indexes.filter(isLoaded);
  const isTouched = choice.setting === 'rebuild' && !choice.targetServesReads;
  const adopted = isTouched ? choice.owed.filter(isLoaded) : [];
  const owedWarnings = choice.owed.map((record) => describeOwed(record, adopted.includes(record)));
  if (!isTouched) {
    const why =
      choice.setting === 'skip'
        ? 'indexes: skip'
        : 'the target serves the reads of the application in this phase, which need them';
    return { rebuilt: [], warnings: [...stay(own, why), ...owedWarnings] };
  }
  const missing = namesOf(adopted).filter(({ name }) => !own.some((index) => index.name === name));
  const listed = choice.list === undefined ? own : namedBy(choice.list, own, missing, isLoaded);
  const rebuilt = listed.filter((index) => createIndexStatement(index) !== undefined);
  const unclear = listed.filter((index) => !rebuilt.includes(index));
  const others = own.filter((index) => !listed.includes(index));
  const warnings = [
    ...stay(others, 'not in the list of indexes'),
    ...stay(unclear, 'their definition is not understood'),
    ...owedWarnings,
  ];
  return { rebuilt: [...rebuilt, ...missing], warnings };
}

function namesOf(records: readonly SavedIndexes[]): readonly IndexName[] {
  return records.flatMap(({ keyspace, table, indexes }) => indexes.map(({ name }) => ({ keyspace, table, name })));
}

function describeOwed({ keyspace, table, runId, indexes }: SavedIndexes, isAdopted: boolean): string {
  const names = indexes.map(({ name }) => name).join(', ');
  const what = isAdopted ? 'this load brings them back at its end' : 'run: ringshift indexes restore';
  return `load ${runId} has dropped indexes of ${keyspace}.${table} that are not back (${names}); ${what}`;
}

function namedBy(
  list: IndexList,
  own: readonly IndexDefinition[],
  owed: readonly IndexName[],
  isLoaded: (table: TargetTable) => boolean,
): readonly IndexDefinition[] {
  const issues: ConfigIssue[] = [];
  const found = new Set<IndexDefinition>();
  for (const [position, entry] of list.entries()) {
    // The list is for the whole migration; entries of tables that this run leaves alone are for other runs.
    if (!isLoaded(entry)) continue;
    const { keyspace, table, name, optional } = entry;
    const matching = own.filter(
      (index) => index.keyspace === keyspace && index.table === table && (name === undefined || index.name === name),
    );
    const isOwed = owed.some((index) => index.keyspace === keyspace && index.table === table && index.name === name);
    if (matching.length === 0 && name !== undefined && !optional && !isOwed) {
      const message = `${keyspace}.${table} has no index ${name} on the target; create it, take the entry out or say optional: true`;
      issues.push({ path: String(position), message });
    }
    for (const index of matching) found.add(index);
  }
  if (issues.length > 0) throw new ConfigError('the list of indexes', issues);
  return own.filter((index) => found.has(index));
}

/** Indexes that stay are kept up to date by each write of the load, at its cost. */
function stay(indexes: readonly IndexDefinition[], why: string): string[] {
  if (indexes.length === 0) return [];
  const names = indexes.map(({ table, name }) => `${name} on ${table}`).sort();
  return [`secondary indexes stay in place during the load and slow it: ${names.join(', ')} (${why})`];
}
