/** Writes → prepared CQL and the values to bind. A table needs a handful of texts, so they are prepared once. */

import type { BoundValue } from '../model/cql-request.ts';
import { type CqlType, isMultiCell } from '../model/cql-type.ts';
import { NO_DELETION_TIME } from '../model/row.ts';
import { type ColumnDefinition, quoteIdentifier, type TableSchema } from '../model/table-schema.ts';
import type { Assignment, RowWrite, SliceDelete, Write } from './writes.ts';

export interface BoundStatement {
  readonly text: string;
  readonly values: readonly BoundValue[];
  /** The instant from which TTL and deletion time are computed; undefined: any. Seconds since the epoch. */
  readonly nowInSeconds?: number;
  /** Of the values, for the size of batches. */
  readonly byteLength: number;
}

/** What a statement needs besides the write itself; computed anew for each attempt. */
export interface StatementContext {
  readonly partitionKey: readonly Uint8Array[];
  readonly nowSeconds: number;
  /** Protocol v5: `nowInSeconds` is sent, so expiries and deletion times stay exact. */
  readonly exactTimes: boolean;
  /** 0, and more each time the same lists may have been written before. */
  readonly listAttempt: number;
}

/** Turns one write into its statements; all of them belong to one partition. */
export type ToStatements = (write: Write, context: StatementContext) => BoundStatement[];

type Places = ReadonlyMap<string, number>;

interface RowTexts {
  readonly text: string;
  /** Where an assignment's value goes: by column, or by column and field. */
  readonly places: Places;
  readonly width: number;
}

const USING = 'USING TIMESTAMP ? AND TTL ?';

function textsOf(schema: TableSchema) {
  const table = `${quoteIdentifier(schema.keyspace)}.${quoteIdentifier(schema.table)}`;
  const keyNames = schema.partitionKey.map((column) => quoteIdentifier(column.name));
  const clusteringNames = schema.clustering.map((column) => quoteIdentifier(column.name));
  const wherePartition = keyNames.map((name) => `${name} = ?`).join(' AND ');
  const whereRow = [...keyNames, ...clusteringNames].map((name) => `${name} = ?`).join(' AND ');
  return {
    table,
    wherePartition,
    whereRow,
    insert: insertText(table, [...keyNames, ...clusteringNames], schema.regularColumns),
    regular: updateTexts(table, whereRow, schema.regularColumns),
    statics: updateTexts(table, wherePartition, schema.staticColumns),
  };
}

/**
 * The statements of whole rows: `insert` binds key, clustering, the regular columns, timestamp, TTL; `update` timestamp,
 * TTL, the regular columns, key, clustering.
 */
export function rowTexts(schema: TableSchema): { readonly insert: string; readonly update: string } {
  const { insert, regular } = textsOf(schema);
  return { insert: insert.text, update: regular.whole.text };
}

/** The statements for one table. */
export function createToStatements(schema: TableSchema): ToStatements {
  const texts = textsOf(schema);
  const { table, wherePartition, whereRow } = texts;

  function rowStatements(write: RowWrite, context: StatementContext): BoundStatement[] {
    const update = write.isStatic ? texts.statics : texts.regular;
    const whole = write.assignments.filter((item) => item.op === 'set');
    const parts = write.assignments.filter((item) => item.op === 'add' || item.op === 'field');
    const removals = write.assignments.filter((item) => item.op === 'remove');
    const place = [...context.partitionKey, ...write.clustering];
    const stamp = stampOf(write, context);
    const nowInSeconds = baseOf(write.writtenAtSeconds, context);
    const statements: BoundStatement[] = [];
    const isWhole = write.kind === 'insert' || parts.length === 0 || whole.some((item) => update.isMulti(item.column));
    if (write.kind === 'insert') {
      const values = bind(texts.insert, whole);
      statements.push(bound(texts.insert.text, [...place, ...values, ...stamp], nowInSeconds));
    } else if (isWhole && whole.length > 0) {
      statements.push(bound(update.whole.text, [...stamp, ...bind(update.whole, whole), ...place], nowInSeconds));
    }
    if (parts.length > 0) {
      const items = isWhole ? parts : [...whole, ...parts];
      statements.push(bound(update.parts.text, [...stamp, ...bind(update.parts, items), ...place], nowInSeconds));
    }
    for (const removal of removals) {
      const text = update.remove(removal.column);
      statements.push(bound(text, [...stamp, removal.value, ...place], nowInSeconds));
    }
    return statements;
  }

  return (write, context) => {
    switch (write.kind) {
      case 'insert':
      case 'update':
        return rowStatements(write, context);
      case 'list': {
        const column = (write.isStatic ? schema.staticColumns : schema.regularColumns)[write.column]!;
        const name = quoteIdentifier(column.name);
        const where = write.isStatic ? wherePartition : whereRow;
        const place = [...context.partitionKey, ...write.clustering];
        const timestampMicros = write.timestampMicros + BigInt(context.listAttempt);
        // The elements of an earlier attempt are deleted now, if nothing else says when. In a request with an older base
        // that tombstone could be past gc_grace at once: no repair would bring it to a replica that lacks it.
        const base = baseOf(write.writtenAtSeconds, context);
        const nowInSeconds = base ?? (context.exactTimes ? context.nowSeconds : undefined);
        // Not `l = ?`: that gives the elements ids of now, behind those that the shadow has appended since the dual
        // writes began. Prepended elements get ids before all appended ones.
        const clear = `DELETE ${name} FROM ${table} USING TIMESTAMP ? WHERE ${where}`;
        const fill = `UPDATE ${table} ${USING} SET ${name} = ? + ${name} WHERE ${where}`;
        // The last part first: each is put before those that stand there already. All in one request, hence one
        // nowInSeconds, so that no two coordinators' clocks decide on the order.
        return [
          bound(clear, [int64(timestampMicros - 1n), ...place], nowInSeconds),
          ...write.parts.toReversed().map((part) => {
            const stamp = stampOf({ ...part, timestampMicros }, context);
            return bound(fill, [...stamp, part.value, ...place], nowInSeconds);
          }),
        ];
      }
      case 'deleteColumn': {
        const column = (write.isStatic ? schema.staticColumns : schema.regularColumns)[write.column]!;
        const where = write.isStatic ? wherePartition : whereRow;
        const text = `DELETE ${quoteIdentifier(column.name)} FROM ${table} USING TIMESTAMP ? WHERE ${where}`;
        const values = [int64(write.timestampMicros), ...context.partitionKey, ...write.clustering];
        return [bound(text, values, baseOf(write.localDeletionTimeSeconds, context))];
      }
      case 'deletePartition': {
        const text = `DELETE FROM ${table} USING TIMESTAMP ? WHERE ${wherePartition}`;
        const values = [int64(write.timestampMicros), ...context.partitionKey];
        return [bound(text, values, baseOf(write.localDeletionTimeSeconds, context))];
      }
      case 'deleteSlice': {
        const slice = sliceOf(write, schema);
        const text = `DELETE FROM ${table} USING TIMESTAMP ? WHERE ${[wherePartition, ...slice.conditions].join(' AND ')}`;
        const values = [int64(write.timestampMicros), ...context.partitionKey, ...slice.values];
        return [bound(text, values, baseOf(write.localDeletionTimeSeconds, context))];
      }
    }
  };
}

function insertText(table: string, keys: readonly string[], columns: readonly ColumnDefinition[]): RowTexts {
  const names = [...keys, ...columns.map((column) => quoteIdentifier(column.name))];
  const places = new Map(columns.map((_, index) => [String(index), index]));
  const markers = names.map(() => '?').join(', ');
  return {
    text: `INSERT INTO ${table} (${names.join(', ')}) VALUES (${markers}) ${USING}`,
    places,
    width: columns.length,
  };
}

interface UpdateTexts {
  /** Every column as `c = ?`. */
  readonly whole: RowTexts;
  /** Simple columns as `c = ?`, multi-cell ones by elements and fields. */
  readonly parts: RowTexts;
  readonly remove: (column: number) => string;
  readonly isMulti: (column: number) => boolean;
}

function updateTexts(table: string, where: string, columns: readonly ColumnDefinition[]): UpdateTexts {
  const update = (settings: readonly string[]) => `UPDATE ${table} ${USING} SET ${settings.join(', ')} WHERE ${where}`;
  const whole = new Map(columns.map((_, index) => [String(index), index]));
  const parts = new Map<string, number>();
  const settings: string[] = [];
  columns.forEach((column, index) => {
    const name = quoteIdentifier(column.name);
    for (const [place, setting] of partSettings(column.type, name, index)) {
      parts.set(place, settings.length);
      settings.push(setting);
    }
  });
  return {
    whole: {
      text: update(columns.map((column) => `${quoteIdentifier(column.name)} = ?`)),
      places: whole,
      width: columns.length,
    },
    parts: { text: update(settings), places: parts, width: settings.length },
    remove: (column) => {
      const name = quoteIdentifier(columns[column]!.name);
      return update([`${name} = ${name} - ?`]);
    },
    isMulti: (column) => isMultiCell(columns[column]!.type),
  };
}

function partSettings(type: CqlType, name: string, index: number): [string, string][] {
  if (!isMultiCell(type)) return [[String(index), `${name} = ?`]];
  if (type.kind === 'udt') {
    return type.fields.map((field, position) => [`${index}.${position}`, `${name}.${quoteIdentifier(field.name)} = ?`]);
  }
  // Lists are written apart, each with its own timestamp.
  return type.kind === 'list' ? [] : [[String(index), `${name} = ${name} + ?`]];
}

function bind(texts: RowTexts, items: readonly Assignment[]): BoundValue[] {
  const values: BoundValue[] = new Array(texts.width).fill(undefined);
  for (const item of items) {
    const place = texts.places.get(item.op === 'field' ? `${item.column}.${item.field}` : String(item.column));
    if (place !== undefined) values[place] = item.value;
  }
  return values;
}

function sliceOf(write: SliceDelete, schema: TableSchema): { conditions: string[]; values: Uint8Array[] } {
  const conditions = write.equal.map((_, index) => `${quoteIdentifier(schema.clustering[index]!.name)} = ?`);
  const values = [...write.equal];
  const next = schema.clustering[write.equal.length];
  if (next === undefined) return { conditions, values };
  const name = quoteIdentifier(next.name);
  // Bounds are in clustering order; of a DESC column the lower position is the greater value.
  const [above, below] = next.reversed ? ['<', '>'] : ['>', '<'];
  for (const [bound, operator] of [
    [write.lower, above],
    [write.upper, below],
  ] as const) {
    if (bound === undefined) continue;
    conditions.push(`${name} ${operator}${bound.inclusive ? '=' : ''} ?`);
    values.push(bound.value);
  }
  return { conditions, values };
}

/** USING TIMESTAMP and TTL. TTL is bound always: left unset, the table's default would apply. */
function stampOf(
  write: { timestampMicros: bigint; ttlSeconds: number; expiresAtSeconds: number },
  context: StatementContext,
): Uint8Array[] {
  return [int64(write.timestampMicros), int32(remainingSeconds(write, context))];
}

function remainingSeconds(write: { ttlSeconds: number; expiresAtSeconds: number }, context: StatementContext): number {
  if (write.ttlSeconds === 0 || write.expiresAtSeconds === NO_DELETION_TIME) return 0;
  if (context.exactTimes) return write.ttlSeconds;
  // Expired between the decision to write it and now: 0 would mean for ever.
  return Math.max(1, write.expiresAtSeconds - context.nowSeconds);
}

const MAX_INT32 = 0x7fffffff;

/** What `now_in_seconds` can say; undefined for what it can't. Seconds since the epoch. */
export function nowInSecondsOf(seconds: number | undefined): number | undefined {
  return seconds === undefined || seconds <= 0 || seconds >= MAX_INT32 ? undefined : seconds;
}

function baseOf(seconds: number | undefined, context: StatementContext): number | undefined {
  return context.exactTimes ? nowInSecondsOf(seconds) : undefined;
}

function bound(text: string, values: readonly BoundValue[], nowInSeconds: number | undefined): BoundStatement {
  let byteLength = 0;
  for (const value of values) byteLength += 4 + (value?.length ?? 0);
  return { text, values, nowInSeconds, byteLength };
}

function int64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, value);
  return bytes;
}

function int32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value);
  return bytes;
}
