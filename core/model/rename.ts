/** Where a table of the origin lies on the target, for whoever reads or writes both. Pure. */

import { ConfigError, type ConfigIssue } from '../errors.ts';

export interface TableName {
  readonly keyspace: string;
  readonly table: string;
}

/** The `renames` section of the config: names on the origin → names on the target. */
export interface RenameRules {
  readonly keyspaces: Readonly<Record<string, string>>;
  /** `keyspace.table` on both sides; goes before the keyspace's own rule. */
  readonly tables: Readonly<Record<string, string>>;
}

export interface Renames {
  readonly isEmpty: boolean;
  /** @throws ConfigError when another table of the origin goes there by a rule, so that two would become one */
  toTarget(name: TableName): TableName;
  /** The table of the origin that goes there; undefined when none does. */
  toOrigin(name: TableName): TableName | undefined;
  /** What a keyspace is called by its own rule, for what is no table (types, functions). */
  keyspaceOnTarget(keyspace: string): string;
  /** All keyspaces of the target in which tables of this keyspace may lie, that of the keyspace's own rule first. */
  targetKeyspaces(keyspace: string): readonly string[];
}

export const NO_RENAMES: RenameRules = { keyspaces: {}, tables: {} };

/** Rules under which it would not be clear where a table lies, each with its path in the config. */
export function faultsOf({ keyspaces, tables }: RenameRules): readonly ConfigIssue[] {
  return [...faultsIn('keyspaces', 'keyspace', keyspaces), ...faultsIn('tables', 'table', tables)];
}

function faultsIn(section: string, what: string, rules: Readonly<Record<string, string>>): ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const taken = new Map<string, string>();
  for (const [from, to] of Object.entries(rules)) {
    const path = `${section}.${from}`;
    const other = taken.get(to);
    if (from === to) issues.push({ path, message: `is called ${to} already; take the rule out` });
    else if (other !== undefined)
      issues.push({ path, message: `${other} goes to ${to} too; two would become one ${what}` });
    // Which of the two rules a name of the target belongs to could not be said any more.
    else if (Object.hasOwn(rules, to))
      issues.push({ path, message: `${to} is renamed itself; rules make no chain and no circle` });
    taken.set(to, from);
  }
  return issues;
}

/** @throws ConfigError naming each rule that contradicts another */
export function createRenames(rules: RenameRules): Renames {
  const issues = faultsOf(rules);
  if (issues.length > 0) throw new ConfigError('renames', issues);
  const keyspaces = new Map(Object.entries(rules.keyspaces));
  const tables = new Map(Object.entries(rules.tables));
  const keyspacesBack = new Map([...keyspaces].map(([from, to]) => [to, from]));
  const tablesBack = new Map([...tables].map(([from, to]) => [to, from]));

  const keyspaceOnTarget = (keyspace: string) => keyspaces.get(keyspace) ?? keyspace;
  const toOrigin = ({ keyspace, table }: TableName): TableName | undefined => {
    const moved = tablesBack.get(`${keyspace}.${table}`);
    if (moved !== undefined) return parseTableName(moved);
    // A keyspace whose name was given away on the target has no table under it.
    const source = keyspacesBack.get(keyspace) ?? (keyspaces.has(keyspace) ? undefined : keyspace);
    if (source === undefined || tables.has(`${source}.${table}`)) return undefined;
    return { keyspace: source, table };
  };

  return {
    isEmpty: keyspaces.size === 0 && tables.size === 0,
    keyspaceOnTarget,
    toOrigin,
    toTarget(name) {
      const moved = tables.get(`${name.keyspace}.${name.table}`);
      const at = moved === undefined ? { ...name, keyspace: keyspaceOnTarget(name.keyspace) } : parseTableName(moved);
      const back = toOrigin(at);
      if (back?.keyspace === name.keyspace && back.table === name.table) return at;
      const message = `${name.keyspace}.${name.table} and ${back?.keyspace}.${back?.table} would both be ${at.keyspace}.${at.table} on the target; give one of them another name`;
      throw new ConfigError('renames', [{ path: 'renames', message }]);
    },
    targetKeyspaces(keyspace) {
      const others = [...tables].filter(([from]) => parseTableName(from).keyspace === keyspace);
      return [...new Set([keyspaceOnTarget(keyspace), ...others.map(([, to]) => parseTableName(to).keyspace)])];
    },
  };
}

/**
 * For what does not follow the rules yet: better not at all than to the wrong table.
 * @throws ConfigError unless there are no rules
 */
export function refuseRenames(rules: RenameRules, what: string): void {
  if (Object.keys(rules.keyspaces).length + Object.keys(rules.tables).length === 0) return;
  throw new ConfigError('the configuration', [
    { path: 'renames', message: `not supported by ${what} yet: it would use the table of the old name` },
  ]);
}

function parseTableName(text: string): TableName {
  const dot = text.indexOf('.');
  return { keyspace: text.slice(0, dot), table: text.slice(dot + 1) };
}
