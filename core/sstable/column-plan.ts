import { SchemaMismatchError } from '#core/errors.ts';
import { isMultiCell } from '#core/model/cql-type.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { fixedLengthOf, VARIABLE_LENGTH } from '#core/model/value-length.ts';

/** How to decode one column of the file, and which column of the reader it is. */
export interface PlannedColumn {
  readonly isMultiCell: boolean;
  /** Bytes of a value, or VARIABLE_LENGTH. */
  readonly valueBytes: number;
  /** Index into the reader's columns, or −1: decode and forget. */
  readonly target: number;
}

export interface ColumnPlan {
  readonly columns: readonly PlannedColumn[];
  /** How many of them have one cell. */
  readonly simpleCount: number;
  /** Targets ascend with the file's order, so that rows need no sorting. */
  readonly isOrdered: boolean;
}

/**
 * Maps the columns of a file, by name, onto those a reader wants. Columns that the reader does not name were dropped.
 *
 * @throws SchemaMismatchError when a column has several cells on one side and one on the other
 */
export function planColumns(
  stored: readonly ColumnDefinition[],
  wanted: readonly ColumnDefinition[],
  file: string,
): ColumnPlan {
  const indexes = new Map(wanted.map((column, index) => [column.name, index]));
  const columns = stored.map((column): PlannedColumn => {
    const target = indexes.get(column.name) ?? -1;
    const wantedType = wanted[target]?.type;
    const multiCell = isMultiCell(column.type);
    if (wantedType && isMultiCell(wantedType) !== multiCell) {
      const form = multiCell ? 'not frozen' : 'frozen or a single value';
      throw new SchemaMismatchError(`${file}: the column ${column.name} is ${form} in the file, unlike in the schema`, {
        context: { file, column: column.name },
      });
    }
    // Elements always carry their length, whatever their type.
    const valueBytes = multiCell ? VARIABLE_LENGTH : fixedLengthOf(column.type);
    return { isMultiCell: multiCell, valueBytes, target };
  });
  const targets = columns.map((column) => column.target).filter((target) => target >= 0);
  return {
    columns,
    simpleCount: columns.filter((column) => !column.isMultiCell).length,
    isOrdered: targets.every((target, index) => index === 0 || target > targets[index - 1]!),
  };
}
