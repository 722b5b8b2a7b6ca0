import { expect, test } from 'vitest';
import { MalformedBytesError } from '#core/bytes/byte-reader.ts';
import { PartitionOrder } from '#core/sstable/partition-order.ts';

test('a key that is kept is a copy, also of a Buffer, and the next one is compared with it', () => {
  const window = Buffer.from('b');
  const order = new PartitionOrder({ start: 0, end: 100 }, { start: 0n, end: 10n });
  expect(order.accept(window, 5n, 0, 0)).toBe('inside');
  order.keepKey();
  window.fill(0);
  expect(() => order.accept(Buffer.from('a'), 5n, 10, 10)).toThrow(MalformedBytesError);
  expect(order.accept(Buffer.from('c'), 5n, 10, 10)).toBe('inside');
});
