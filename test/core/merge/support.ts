/** Hand-made partitions, and a cursor over them that gives its events in small portions. */

import {
  type Cell,
  type CellParts,
  clusteringOf,
  createCell,
  type Deletion,
  type MultiCell,
  type PartitionCursor,
  type PartitionEvent,
  type Row,
} from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';

export const int = { kind: 'native', name: 'int' } as const;
export const text = { kind: 'native', name: 'text' } as const;

export function schemaOf(changes: Partial<TableSchema> = {}): TableSchema {
  return {
    keyspace: 'shop',
    table: 'orders',
    partitionKey: [{ name: 'id', type: text }],
    clustering: [{ name: 'part', type: int, reversed: false }],
    staticColumns: [{ name: 's', type: text }],
    regularColumns: [
      { name: 'a', type: text },
      { name: 'b', type: text },
      { name: 'm', type: { kind: 'map', key: text, value: text, frozen: false } },
    ],
    droppedColumns: [],
    defaultTimeToLiveSeconds: 0,
    gcGraceSeconds: 864_000,
    isCounter: false,
    ...changes,
  };
}

export const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

export function int32(value: number): Uint8Array {
  const result = new Uint8Array(4);
  new DataView(result.buffer).setInt32(0, value);
  return result;
}

/** A cell of a column that `row` will set. */
export function cell(timestampMicros: bigint, value: string, changes: Partial<CellParts> = {}): Cell {
  return createCell({ timestampMicros, value: bytes(value), ...changes });
}

export function tombstone(timestampMicros: bigint, madeAtSeconds: number, path?: Uint8Array): Cell {
  return cell(timestampMicros, '', { isTombstone: true, localDeletionTimeSeconds: madeAtSeconds, path });
}

/** A row in parts: `columns` holds simple columns (one cell without a path) and multi-cell ones, as they come. */
export interface RowParts extends Partial<Pick<Row, 'isStatic' | 'liveness' | 'deletion'>> {
  readonly clustering?: readonly (Uint8Array | null)[];
  readonly columns?: readonly {
    readonly column: number;
    readonly deletion?: Deletion;
    readonly cells: readonly Cell[];
  }[];
}

/** Simple and multi-cell columns alike, as `RowParts` has them. */
export function columnsOf(of: Row): readonly MultiCell[] {
  return [...of.cells.map((each) => ({ column: each.column, cells: [each] })), ...of.multiCells];
}

export function row(part: number, parts: RowParts = {}): Row {
  const { clustering = [int32(part)], columns = [], ...rest } = parts;
  const placed = columns.map((data) => ({
    ...data,
    cells: data.cells.map((each) => createCell({ ...partsOf(each), column: data.column })),
  }));
  const isSimple = (data: (typeof placed)[number]) =>
    data.deletion === undefined && data.cells.length === 1 && data.cells[0]!.pathStart < 0;
  return {
    kind: 'row',
    isStatic: false,
    clustering: clusteringOf(clustering),
    ...rest,
    cells: placed.filter(isSimple).map((data) => data.cells[0]!),
    multiCells: placed.filter((data) => !isSimple(data)),
  };
}

/** What a cell is, wherever its bytes lie. */
export function partsOf(each: Cell): CellParts {
  const { timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value, path } = each;
  return { timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value, path };
}

/** A cursor that must be filled again after every `portion` events. */
export function cursorOf(events: readonly PartitionEvent[], portion = 2): PartitionCursor {
  let at = 0;
  let limit = 0;
  return {
    next: () => (at < limit ? events[at++] : undefined),
    async fill() {
      if (at >= events.length) return false;
      limit = Math.min(events.length, at + portion);
      return true;
    },
    close: () => undefined,
  };
}

export async function drain(cursor: PartitionCursor): Promise<PartitionEvent[]> {
  const events: PartitionEvent[] = [];
  for (;;) {
    const event = cursor.next();
    if (event !== undefined) events.push(event);
    else if (!(await cursor.fill())) return events;
  }
}
