/** What a validation's plan writes and each of its ranges reads. */
import { z } from 'zod';
import { ObjectStoreError, UsageError } from '../errors.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { tableSchemaFromJson, tableSchemaToJson } from '../model/table-schema-json.ts';
import type { ObjectStore } from '../ports.ts';
import { type TokenRange, type TokenRangeJson, tokenRangeFromJson } from '../token/token-range.ts';

/** The execution input. `keyspace` is enough, so that a schedule can start a validation. */
export const validationInputSchema = z.strictObject({
  keyspace: z.string().min(1),
  tables: z.array(z.string().min(1)).min(1).optional(),
  samplePercent: z.number().gt(0).max(100).optional(),
  reconcile: z.boolean().optional(),
  compareWriteTime: z.boolean().optional(),
  /** Only the places that are marked suspect. */
  suspects: z.boolean().optional(),
});
export type ValidationInput = z.output<typeof validationInputSchema>;

/** @throws UsageError that names every fault */
export function parseValidationInput(input: unknown): ValidationInput {
  const parsed = validationInputSchema.safeParse(input);
  if (parsed.success && parsed.data.suspects && parsed.data.samplePercent !== undefined) {
    throw new UsageError('the places that are marked suspect are compared whole, not as a sample');
  }
  if (parsed.success) return parsed.data;
  throw new UsageError(`the validation's input is wrong:\n${z.prettifyError(parsed.error)}`);
}

/** One unit of work of the Distributed Map; small, since thousands travel at once. */
export interface ValidationItem {
  readonly runId: string;
  readonly index: number;
  readonly keyspace: string;
  readonly table: string;
  /** (start, end], decimal. */
  readonly start: string;
  readonly end: string;
  /** Only these parts of it, ascending; absent: all of it. */
  readonly places?: readonly TokenRangeJson[];
  /** Estimated; 0 when unknown. */
  readonly bytes: number;
  readonly tableKey: string;
}

/** What an item has to compare, ascending. @throws UsageError when it is not one of a validation plan */
export function rangesOfItem(item: Pick<ValidationItem, 'runId' | 'index' | 'start' | 'end' | 'places'>): TokenRange[] {
  try {
    return (item.places ?? [{ start: item.start, end: item.end }]).map(tokenRangeFromJson);
  } catch (cause) {
    throw new UsageError(`range ${item.index} of run ${item.runId} has no valid tokens`, { cause });
  }
}

/** What all ranges of a table share. */
export interface ValidationTable {
  readonly schema: TableSchema;
  /** Both clusters can read write times of multi-cell columns. */
  readonly elementWriteTimes: boolean;
  readonly compareWriteTime: boolean;
  readonly samplePercent: number;
}

const manifestSchema = z.object({
  version: z.literal(1),
  kind: z.literal('validation'),
  schema: z.unknown(),
  elementWriteTimes: z.boolean(),
  compareWriteTime: z.boolean(),
  samplePercent: z.number(),
});

/** Where things of a run lie in the bucket. */
export const runKeys = {
  plan: (runId: string) => `runs/${runId}/plan.json`,
  table: (runId: string, keyspace: string, table: string) => `runs/${runId}/tables/${keyspace}.${table}.json`,
  /** `part` counts the times that the range was continued from a checkpoint. */
  differences: (runId: string, index: number, part: number) =>
    `runs/${runId}/differences/${String(index).padStart(6, '0')}${part === 0 ? '' : `-${part}`}.jsonl`,
  summary: (runId: string) => `runs/${runId}/summary.json`,
} as const;

/** The manifest's text for the object store. */
export function encodeValidationTable(table: ValidationTable): string {
  return JSON.stringify({ version: 1, kind: 'validation', ...table, schema: tableSchemaToJson(table.schema) });
}

/** @throws ObjectStoreError when the manifest is missing or is none of a validation */
export async function readValidationTable(objects: ObjectStore, key: string): Promise<ValidationTable> {
  const body = await objects.get(key);
  if (!body) throw new ObjectStoreError(`${objects.name}/${key} does not exist`, { context: { key } });
  const parsed = manifestSchema.safeParse(JSON.parse(new TextDecoder().decode(body)));
  if (!parsed.success) {
    throw new ObjectStoreError(`${objects.name}/${key} is no table manifest of a validation`, { context: { key } });
  }
  const { elementWriteTimes, compareWriteTime, samplePercent, schema } = parsed.data;
  return { schema: tableSchemaFromJson(schema), elementWriteTimes, compareWriteTime, samplePercent };
}

/** A run's id: kind, keyspace, UTC time, and four hex digits of `random` so that two starts in a second differ. */
export function newRunId(kind: 'load' | 'validation', keyspace: string, now: Date, random: number): string {
  const time = now.toISOString().replace(/[-:]/g, '').slice(0, 15);
  const suffix = Math.floor(random * 0x10000)
    .toString(16)
    .padStart(4, '0');
  // Names of executions hold letters, digits, - and _ only, 80 at most.
  return `${kind}-${keyspace.replace(/[^A-Za-z0-9_-]/g, '_').slice(0, 40)}-${time}-${suffix}`;
}
