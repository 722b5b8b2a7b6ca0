import { expect, test } from 'vitest';
import { UsageError } from '#core/errors.ts';
import { boundDetails, checkInputSize } from '#core/jobs/state-size.ts';

/** Of the state of an execution as a whole. @see https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html */
const AWS_BYTES = 262_144;
const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value));
const entries = (count: number) =>
  Array.from({ length: count }, (_, n) => ({ keyspace: 'ks', table: 'tä', name: `i${n}` }));

test('an input that leaves no room for the rest of the state is refused with the remedy', () => {
  const fits = { keyspace: 'ks', indexList: entries(2500) };
  expect(() => checkInputSize(fits)).not.toThrow();
  expect(() => checkInputSize({ keyspace: 'ks', indexList: entries(10_000) })).toThrow(UsageError);
  expect(() => checkInputSize({ keyspace: 'ks', indexList: entries(10_000) })).toThrow(/\d+ bytes.*fewer tables/);
  const details = boundDetails({ tables: entries(50_000), warnings: ['x'.repeat(1000)] });
  // A fifth is left for what the steps add.
  expect(bytesOf(fits) + bytesOf(details)).toBeLessThan(0.8 * AWS_BYTES);
});

test('small details stay as they are; of large ones the longest lists are cut, and the rest is counted', () => {
  const small = { totalBytes: 1, tables: entries(3), skipped: [] };
  expect(boundDetails(small)).toEqual(small);
  const { omitted, tables, skipped, totalBytes } = boundDetails({ totalBytes: 7, tables: entries(9000), skipped: [1] });
  expect([skipped, totalBytes]).toEqual([[1], 7]);
  expect(tables.length + (omitted?.['tables'] ?? 0)).toBe(9000);
  expect(tables[0]).toEqual(entries(1)[0]);
});
