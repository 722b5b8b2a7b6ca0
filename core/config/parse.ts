import { type Document, isMap, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { ConfigError, type ConfigIssue } from '../errors.ts';
import { type Unaliased, withoutAliases } from './cluster-aliases.ts';
import { type MigrationConfig, migrationConfigSchema } from './schema.ts';

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads the text of `migration.yaml`, in which `origin` and `target` may use the names of `cluster-aliases.ts`.
 * @param sourceName the file's name, for messages
 * @param change what comes over its values before they are looked at
 * @throws ConfigError with every fault: its path, line and what would be right
 */
export function parseMigrationConfig(
  text: string,
  sourceName: string,
  env: Environment,
  change?: (value: unknown) => unknown,
): MigrationConfig {
  return parse(migrationConfigSchema, text, sourceName, env, withoutAliases, change);
}

/** The same for any other YAML file that has a schema (filter rules, indexes). */
export function parseYamlAs<S extends z.ZodType>(
  schema: S,
  text: string,
  sourceName: string,
  env: Environment,
): z.output<S> {
  return parse(schema, text, sourceName, env, asItIs);
}

function parse<S extends z.ZodType>(
  schema: S,
  text: string,
  sourceName: string,
  env: Environment,
  translate: (value: unknown) => Unaliased,
  change: (value: unknown) => unknown = (value) => value,
): z.output<S> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0) {
    throw new ConfigError(
      sourceName,
      document.errors.map((error) => ({
        path: '(yaml)',
        message: error.message.split('\n')[0] ?? 'not YAML',
        line: lines.linePos(error.pos[0]).line,
      })),
    );
  }
  const issues: ConfigIssue[] = [];
  const value = substitute(document.toJS() ?? {}, [], env, (path, message) =>
    issues.push({ path: path.join('.'), message, line: lineOf(document, lines, path) }),
  );
  const translated = translate(value);
  const tell = (path: readonly string[], message: string): void => {
    const issue = { path: path.join('.') || '(file)', message, line: lineOf(document, lines, path) };
    // One key of the file may stand for two.
    if (!issues.some((known) => known.path === issue.path && known.message === message)) issues.push(issue);
  };
  for (const { path, message } of translated.faults) tell(path, message);
  const result = schema.safeParse(change(translated.value));
  if (!result.success) {
    for (const issue of result.error.issues) {
      for (const { path, message } of faultsOf(issue)) tell(translated.pathInFile(path), message);
    }
  }
  if (issues.length > 0) throw new ConfigError(sourceName, issues);
  return result.data as z.output<S>;
}

function faultsOf(issue: z.core.$ZodIssue): { readonly path: readonly string[]; readonly message: string }[] {
  const path = issue.path.map(String);
  if (issue.code !== 'unrecognized_keys') return [{ path, message: issue.message }];
  return issue.keys.map((key) => ({ path: [...path, key], message: 'unknown key' }));
}

const asItIs = (value: unknown): Unaliased => ({ value, faults: [], pathInFile: (path) => path });

/** The line of a path; of its nearest existing parent where the path itself is missing. */
function lineOf(document: Document, lines: LineCounter, path: readonly string[]): number | undefined {
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find((item) => String((item.key as { value?: unknown }).value) === path[length - 1]);
    const range = (pair?.key as { range?: [number, number, number] } | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return undefined;
}

/** Replaces `${NAME}` in every string. A missing variable is a fault, never an empty text. */
function substitute(
  value: unknown,
  path: readonly string[],
  env: Environment,
  fault: (path: readonly string[], message: string) => void,
): unknown {
  if (typeof value === 'string') {
    return value.replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (whole, name: string) => {
      const found = env[name];
      if (found === undefined) fault(path, `the environment variable ${name} is not set`);
      return found ?? whole;
    });
  }
  if (Array.isArray(value)) return value.map((item, index) => substitute(item, [...path, String(index)], env, fault));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, substitute(item, [...path, key], env, fault)]),
    );
  }
  return value;
}
