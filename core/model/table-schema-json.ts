import { z } from 'zod';
import { SchemaMismatchError } from '../errors.ts';
import type { CqlType } from './cql-type.ts';
import type { TableSchema } from './table-schema.ts';

const column = z.object({
  name: z.string().min(1),
  type: z.custom<CqlType>((value) => typeof (value as CqlType | null)?.kind === 'string'),
});

const tableSchemaJson = z.object({
  keyspace: z.string().min(1),
  table: z.string().min(1),
  partitionKey: z.array(column).min(1),
  clustering: z.array(column.extend({ reversed: z.boolean() })),
  staticColumns: z.array(column),
  regularColumns: z.array(column),
  droppedColumns: z.array(z.object({ name: z.string(), droppedAtMicros: z.string().regex(/^-?\d+$/) })),
  defaultTimeToLiveSeconds: z.int(),
  gcGraceSeconds: z.int(),
  isCounter: z.boolean(),
});

/** A schema as a plan's table manifest holds it: plain JSON, microseconds as decimal text. */
export type TableSchemaJson = z.input<typeof tableSchemaJson>;

/** For a manifest that a plan writes and each of its ranges reads. */
export function tableSchemaToJson(schema: TableSchema): TableSchemaJson {
  return JSON.parse(
    JSON.stringify(schema, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value)),
  ) as TableSchemaJson;
}

/** @throws SchemaMismatchError when the value is no such schema */
export function tableSchemaFromJson(value: unknown): TableSchema {
  const parsed = tableSchemaJson.safeParse(value);
  if (!parsed.success) {
    throw new SchemaMismatchError(`a table manifest holds no table schema: ${parsed.error.issues[0]?.path.join('.')}`);
  }
  return {
    ...parsed.data,
    droppedColumns: parsed.data.droppedColumns.map(({ name, droppedAtMicros }) => ({
      name,
      droppedAtMicros: BigInt(droppedAtMicros),
    })),
  };
}
