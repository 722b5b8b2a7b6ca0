import type { Cell, Clustering, PartitionEvent } from '#core/model/row.ts';

const hex = (bytes: Uint8Array | null | undefined) => (bytes ? Buffer.from(bytes).toString('hex') : bytes);

/** What a cell is, wherever its bytes lie. */
export function plainCell(cell: Cell) {
  const { column, timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone } = cell;
  const [value, path] = [hex(cell.value), hex(cell.path)];
  return { column, timestampMicros, ttlSeconds, localDeletionTimeSeconds, isTombstone, value, path };
}

const plainClustering = (clustering: Clustering) => clustering.values().map(hex);

/** An event whose bytes are hexadecimal texts, so that two readings can be compared. */
export function plainEvent(event: PartitionEvent) {
  switch (event.kind) {
    case 'partition':
      return { ...event, key: hex(event.key) };
    case 'row':
      return {
        ...event,
        clustering: plainClustering(event.clustering),
        cells: event.cells.map(plainCell),
        multiCells: event.multiCells.map((data) => ({ ...data, cells: data.cells.map(plainCell) })),
      };
    case 'marker':
      return { ...event, clustering: plainClustering(event.clustering) };
    case 'end':
      return event;
  }
}
