import type { PreparedMessage } from './result-message.ts';

/**
 * The PREPARED answer as a client must see it when markers were put into its text: without their columns, and with the
 * partition-key indexes of what is left. A key that contains a hidden marker is no longer bound by the client, so it
 * gets no indexes, just as if the text had a literal there.
 * @param positions of the hidden markers, ascending
 */
export function hideMarkers(prepared: PreparedMessage, positions: readonly number[]): PreparedMessage {
  if (positions.length === 0) return prepared;
  const hidden = new Set(positions);
  const isKeyHidden = prepared.partitionKeyIndexes.some((index) => hidden.has(index));
  return {
    ...prepared,
    markers: prepared.markers.filter((_, index) => !hidden.has(index)),
    partitionKeyIndexes: isKeyHidden
      ? []
      : prepared.partitionKeyIndexes.map((index) => index - positions.filter((position) => position < index).length),
  };
}
