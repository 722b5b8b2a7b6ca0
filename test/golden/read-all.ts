import type { PartitionCursor } from '#core/model/row.ts';
import { plainEvent } from '../support/plain-event.ts';

/** Drains a cursor; the events can be compared. */
export async function readAll(cursor: PartitionCursor): Promise<ReturnType<typeof plainEvent>[]> {
  const events: ReturnType<typeof plainEvent>[] = [];
  while (await cursor.fill()) {
    for (let event = cursor.next(); event !== undefined; event = cursor.next()) events.push(plainEvent(event));
  }
  return events;
}

/** Tokens of the partitions, in the order they came. */
export async function readTokens(cursor: PartitionCursor): Promise<bigint[]> {
  return (await readAll(cursor)).flatMap((event) => (event.kind === 'partition' ? [event.token] : []));
}
