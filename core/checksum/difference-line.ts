/** A differing partition as a line of the differences file: readable, and enough to reconcile it. */
import { z } from 'zod';
import { ObjectStoreError } from '../errors.ts';
import type { CqlType } from '../model/cql-type.ts';
import { renderValue } from '../model/render-value.ts';
import type { ColumnDefinition } from '../model/table-schema.ts';
import type { PartitionComparison, RowDifference } from './compare-partition.ts';
import type { ComparedTable } from './compared-table.ts';
import type { ComparedCell, PartitionId } from './selected-row.ts';

/** Longer values are cut in the report; repairing reads them again. Characters. */
const MAX_VALUE_LENGTH = 500;

const shownCell = z.object({
  /** null: no live cell. */
  value: z.string().nullable(),
  /** Decimal microseconds; null when CQL can't read it. */
  writeTime: z.string().nullable(),
  /** Seconds since the epoch; null: does not expire, or can't be read. */
  expiresAt: z.number().nullable(),
});

const kind = z.enum(['onlyInOrigin', 'onlyInTarget', 'differs']);

const differenceLine = z.object({
  keyspace: z.string(),
  table: z.string(),
  token: z.string(),
  kind,
  /** Column name → shown value. */
  key: z.record(z.string(), z.string()),
  /** The key's values, base64. */
  keyBytes: z.array(z.string()).min(1),
  rows: z.array(
    z.object({
      kind,
      isStatic: z.boolean(),
      clustering: z.record(z.string(), z.string()),
      columns: z.array(
        z.object({
          column: z.string(),
          what: z.enum(['onlyInOrigin', 'onlyInTarget', 'value', 'writeTime', 'expiry']),
          origin: shownCell,
          target: shownCell,
        }),
      ),
    }),
  ),
  /** More rows differ than are listed. */
  moreRows: z.boolean(),
});
export type DifferenceLine = z.output<typeof differenceLine>;

/** The line's content for one partition. */
export function toDifferenceLine(
  table: ComparedTable,
  partition: PartitionId,
  comparison: PartitionComparison,
): DifferenceLine {
  const named = (columns: readonly ColumnDefinition[], values: readonly Uint8Array[]) =>
    Object.fromEntries(
      columns.flatMap((column, i) => (values[i] ? [[column.name, show(column.type, values[i])]] : [])),
    );
  const showRow = (row: RowDifference): DifferenceLine['rows'][number] => ({
    kind: row.kind,
    isStatic: row.isStatic,
    clustering: named(table.schema.clustering, row.clustering),
    columns: row.cells.map(({ column, kind: what, origin, target }) => ({
      column: column.name,
      what,
      origin: showCell(column.type, origin),
      target: showCell(column.type, target),
    })),
  });
  return {
    keyspace: table.schema.keyspace,
    table: table.schema.table,
    token: partition.token.toString(),
    kind: comparison.kind ?? 'differs',
    key: named(table.schema.partitionKey, partition.keyValues),
    keyBytes: partition.keyValues.map((value) => Buffer.from(value).toString('base64')),
    rows: comparison.rows.map(showRow),
    moreRows: comparison.isTruncated,
  };
}

/** The lines of a differences file. @throws ObjectStoreError when one is not understood */
export function parseDifferenceLines(body: Uint8Array, name: string): DifferenceLine[] {
  const lines = new TextDecoder().decode(body).split('\n');
  return lines.flatMap((line, at) => {
    if (line === '') return [];
    const parsed = differenceLine.safeParse(safeJson(line));
    if (parsed.success) return [parsed.data];
    throw new ObjectStoreError(`${name}, line ${at + 1} is no difference: ${parsed.error.issues[0]?.path.join('.')}`);
  });
}

/** The partition that a line names. */
export function partitionOfLine(line: DifferenceLine): PartitionId {
  return {
    token: BigInt(line.token),
    keyValues: line.keyBytes.map((value) => new Uint8Array(Buffer.from(value, 'base64'))),
  };
}

function showCell(type: CqlType, cell: ComparedCell): z.output<typeof shownCell> {
  const expiries = cell.expiresAtSeconds.filter((expiry) => expiry !== null);
  return {
    value: cell.value && show(type, cell.value),
    writeTime: cell.writeTimeMicros?.toString() ?? null,
    expiresAt: expiries.length > 0 ? Math.max(...expiries) : null,
  };
}

/** As a literal of CQL, so that a key can be pasted into a query. */
function show(type: CqlType, bytes: Uint8Array): string {
  const text = renderValue(type, bytes, 'cql');
  return text.length > MAX_VALUE_LENGTH ? `${text.slice(0, MAX_VALUE_LENGTH)}… (${text.length} characters)` : text;
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
