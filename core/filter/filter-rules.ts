import { z } from 'zod';
import { type Environment, parseYamlAs } from '../config/parse.ts';

/** `keyspace.table`, `keyspace.*`, or a bare `table` of any keyspace. */
const tablePattern = z
  .string()
  .max(200)
  .regex(/^(\*|[\w"]+)(\.(\*|[\w"]+))?$/, 'must be keyspace.table, keyspace.* or table');

const tenantId = z.union([z.string().min(1).max(1000), z.number(), z.bigint()]).transform(String);

/** The shape of `filter-rules.yaml`: what stays on the origin. Empty include lists include everything. */
export const filterRulesSchema = z.strictObject({
  version: z.literal(1).default(1),
  tenants: z
    .strictObject({
      /** Columns that carry the tenant's id; the first one that a statement binds decides. */
      columns: z.array(z.string().min(1)).max(20).default([]),
      exclude: z.array(tenantId).max(100_000).default([]),
      include: z.array(tenantId).max(100_000).default([]),
    })
    .refine((tenants) => tenants.columns.length > 0 || tenants.exclude.length + tenants.include.length === 0, {
      path: ['columns'],
      message: 'names no column, so that the listed tenants could not be recognised',
    })
    .prefault({}),
  tables: z
    .strictObject({
      exclude: z.array(tablePattern).max(10_000).default([]),
      include: z.array(tablePattern).max(10_000).default([]),
    })
    .prefault({}),
});

/** Parsed rules of `filter-rules.yaml`. */
export type FilterRules = z.infer<typeof filterRulesSchema>;

/** Rules that exclude nothing. */
export const NO_FILTER_RULES: FilterRules = filterRulesSchema.parse({});

/**
 * Reads `filter-rules.yaml`; an empty text excludes nothing.
 * @throws ConfigError with every fault and its path
 */
export function parseFilterRules(text: string, sourceName: string, env: Environment = {}): FilterRules {
  return parseYamlAs(filterRulesSchema, text, sourceName, env);
}
