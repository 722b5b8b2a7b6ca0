/** Hand-made partitions, and a cursor over them that gives its events in small portions. */

import { type Cell, NO_DELETION_TIME, type PartitionCursor, type PartitionEvent, type Row } from '#core/model/row.ts';
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

export function cell(timestampMicros: bigint, value: string, changes: Partial<Cell> = {}): Cell {
  return {
    timestampMicros,
    ttlSeconds: 0,
    localDeletionTimeSeconds: NO_DELETION_TIME,
    isTombstone: false,
    value: bytes(value),
    ...changes,
  };
}

export function tombstone(timestampMicros: bigint, madeAtSeconds: number, path?: Uint8Array): Cell {
  return cell(timestampMicros, '', { isTombstone: true, localDeletionTimeSeconds: madeAtSeconds, path });
}

export function row(part: number, changes: Partial<Row> = {}): Row {
  return { kind: 'row', isStatic: false, clustering: [int32(part)], columns: [], ...changes };
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
