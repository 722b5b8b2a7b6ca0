/**
 * Headers of Cassandra 3.0 before 3.0.18 (versions ma, mb and some of mc) lack the FrozenType around user types, which
 * were always frozen then (CASSANDRA-15035). Later ones write it, so that a user type without it has several cells.
 */

import { SSTableCorruptError, SSTableUnsupportedError } from '#core/errors.ts';
import { isMultiCell } from '#core/model/cql-type.ts';
import type { PartitionCursor } from '#core/model/row.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import type { SerializationHeader } from './serialization-header.ts';
import type { SSTableVersion } from './sstable-version.ts';

interface Columns {
  readonly static: readonly ColumnDefinition[];
  readonly regular: readonly ColumnDefinition[];
}

const isOpenUserType = ({ type }: ColumnDefinition) => type.kind === 'udt' && !type.frozen;

/**
 * What a header can mean: one reading, or with frozen user types and as it stands when nothing in it tells which.
 *
 * The columns of a file stand in an order that tells most: those of one cell first, then those of several, both by name.
 *
 * @see org.apache.cassandra.io.sstable.SSTableHeaderFix, org.apache.cassandra.db.Columns
 */
export function readingsOf(header: SerializationHeader, version: SSTableVersion): readonly SerializationHeader[] {
  const all = [...header.staticColumns, ...header.regularColumns];
  if (!version.text.startsWith('m') || !all.some(isOpenUserType)) return [header];
  const frozen = freezeWhere(header, isOpenUserType);
  // There were no user types of several cells before 3.6, and that writes mc.
  if (version.text < 'mc') return [frozen];
  if (!isInOrder(header)) return [isInOrder(frozen) ? frozen : header];
  const namesFrozenOnes = all.some(({ type }) => type.kind === 'udt' && type.frozen);
  return version.text > 'mc' || namesFrozenOnes || !isInOrder(frozen) ? [header] : [frozen, header];
}

/** The header as the table's schema says it: a user type that is frozen there is so here, and so is one that was dropped. */
export function readWithSchema(
  header: SerializationHeader,
  version: SSTableVersion,
  schema: Columns,
): SerializationHeader {
  if (!version.text.startsWith('m')) return header;
  const known = new Map([...schema.static, ...schema.regular].map(({ name, type }) => [name, isMultiCell(type)]));
  const isLost = (column: ColumnDefinition) => isOpenUserType(column) && known.get(column.name) === false;
  if (![...header.staticColumns, ...header.regularColumns].some(isLost)) return header;
  // One that has lost its FrozenType tells the release of the file, and with it what all others are.
  return freezeWhere(header, (column) => isLost(column) || (isOpenUserType(column) && !known.has(column.name)));
}

function freezeWhere(header: SerializationHeader, isLost: (column: ColumnDefinition) => boolean): SerializationHeader {
  const freeze = (column: ColumnDefinition): ColumnDefinition =>
    column.type.kind === 'udt' && isLost(column) ? { ...column, type: { ...column.type, frozen: true } } : column;
  return {
    ...header,
    staticColumns: header.staticColumns.map(freeze),
    regularColumns: header.regularColumns.map(freeze),
  };
}

function isInOrder({ staticColumns, regularColumns }: SerializationHeader): boolean {
  return [staticColumns, regularColumns].every((columns) =>
    columns.every(({ name, type }, index) => {
      const before = columns[index - 1];
      if (before === undefined) return true;
      const [left, right] = [isMultiCell(before.type), isMultiCell(type)];
      return left === right ? Buffer.compare(Buffer.from(before.name), Buffer.from(name)) < 0 : right;
    }),
  );
}

/** So many rows with a user type, each as long as it says it is, do not come out by chance. */
const ENOUGH_ROWS = 100;

/**
 * Decides between the readings of a header by the rows: a wrong one does not end where the row says that it ends.
 *
 * @param open the whole SSTable under one of the readings
 * @throws SSTableUnsupportedError when the rows allow several, which differ
 */
export async function chooseReading(
  readings: readonly SerializationHeader[],
  open: (reading: SerializationHeader) => PartitionCursor,
  file: string,
  signal?: AbortSignal,
): Promise<SerializationHeader> {
  if (readings.length === 1) return readings[0]!;
  const asItStands = readings.at(-1)!;
  const fitting: { reading: SerializationHeader; rows: number }[] = [];
  for (const reading of readings) {
    const rows = await countUserTypes(open(reading), asItStands, signal);
    if (rows !== undefined) fitting.push({ reading, rows });
  }
  // None: the file is damaged, which reading it tells. Without a value of such a type all readings are the same.
  if (fitting.length === 1) return fitting[0]!.reading;
  if (fitting.every(({ rows }) => rows === 0)) return readings[0]!;
  throw new SSTableUnsupportedError(
    `${file}: its header does not say whether user types are frozen (CASSANDRA-15035), and its rows allow both; load it, which takes that from the schema, or run nodetool upgradesstables -a on 3.11.4 or later`,
    { context: { file } },
  );
}

/** Rows with a value of a user type in doubt, up to ENOUGH_ROWS; undefined when the bytes are no such rows. */
async function countUserTypes(
  cursor: PartitionCursor,
  { staticColumns, regularColumns }: SerializationHeader,
  signal?: AbortSignal,
): Promise<number | undefined> {
  const inDoubt = [staticColumns, regularColumns].map((columns) => columns.map(isOpenUserType));
  let rows = 0;
  try {
    while (rows < ENOUGH_ROWS && (await cursor.fill(signal))) {
      for (let event = cursor.next(); event !== undefined; event = cursor.next()) {
        if (event.kind !== 'row') continue;
        const flags = inDoubt[event.isStatic ? 0 : 1]!;
        if (event.cells.some(({ column }) => flags[column]) || event.multiCells.some(({ column }) => flags[column]))
          rows++;
      }
    }
    return rows;
  } catch (error) {
    if (error instanceof SSTableCorruptError) return undefined;
    throw error;
  } finally {
    cursor.close();
  }
}
