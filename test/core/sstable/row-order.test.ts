import { expect, test } from 'vitest';
import { SSTableCorruptError } from '#core/errors.ts';
import { BoundKind, clusteringOf, type PartitionEvent } from '#core/model/row.ts';
import { RowOrder } from '#core/sstable/row-order.ts';
import type { SerializationHeader } from '#core/sstable/serialization-header.ts';

const header = {
  clusteringTypes: [{ kind: 'native', name: 'int' }],
  clusteringReversed: [true],
} as unknown as SerializationHeader;
const start: PartitionEvent = { kind: 'partition', key: new Uint8Array(1), token: 1n };
const at = (value: number) => clusteringOf([Uint8Array.of(0, 0, 0, value)]);
const row = (value: number): PartitionEvent => {
  return { kind: 'row', isStatic: false, clustering: at(value), cells: [], multiCells: [] };
};
const marker = (value: number, bound: BoundKind): PartitionEvent => ({ kind: 'marker', bound, clustering: at(value) });

function check(...events: PartitionEvent[]): void {
  const order = new RowOrder(header, 'Data.db');
  events.forEach((event, position) => {
    order.check(event, position);
  });
}

test('rows and markers that ascend pass, each partition for itself', () => {
  check(start, row(9), marker(8, BoundKind.InclusiveStart), row(8), marker(8, BoundKind.InclusiveEnd), start, row(9));
});

test('a row that is not behind the one before it is corrupt', () => {
  for (const events of [
    [row(1), row(2)],
    [row(2), row(2)],
    [row(2), marker(2, BoundKind.InclusiveStart)],
  ]) {
    expect(() => check(start, ...events)).toThrow(SSTableCorruptError);
  }
});
