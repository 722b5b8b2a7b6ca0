import type { PartitionCursor, PartitionEvent } from '#core/model/row.ts';

/** Drains a cursor. */
export async function readAll(cursor: PartitionCursor): Promise<PartitionEvent[]> {
  const events: PartitionEvent[] = [];
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) events.push(event);
  }
  return events;
}

/** Tokens of the partitions, in the order they came. */
export async function readTokens(cursor: PartitionCursor): Promise<bigint[]> {
  return (await readAll(cursor)).flatMap((event) => (event.kind === 'partition' ? [event.token] : []));
}
