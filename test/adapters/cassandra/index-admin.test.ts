import cassandra from 'cassandra-driver';
import { expect, test } from 'vitest';
import type { DriverClient } from '#adapters/cassandra/driver-client.ts';
import { createIndexAdmin } from '#adapters/cassandra/index-admin.ts';
import { ClusterUnreachableError } from '#core/errors.ts';

/** A client that notes what it is told to execute. */
function clientOf(execute: (text: string, options: cassandra.QueryOptions) => unknown): DriverClient {
  return {
    execute: async (text: string, _: unknown, options: cassandra.QueryOptions) => execute(text, options),
    metadata: { checkSchemaAgreement: async () => true },
  } as unknown as DriverClient;
}

test('a change of the schema is sent once, so that it can not happen long after its answer was given up', async () => {
  const sent: unknown[] = [];
  const client = clientOf((text, { isIdempotent }) => sent.push([text, isIdempotent]));
  await createIndexAdmin(client, 'dc1').change('DROP INDEX IF EXISTS ks.a');
  expect(sent).toEqual([['DROP INDEX IF EXISTS ks.a', false]]);
});

test('a look that gets no answer may be repeated, by the driver and by the caller', async () => {
  const client = clientOf((_, { isIdempotent }) => {
    expect(isIdempotent).toBe(true);
    throw new cassandra.errors.OperationTimedOutError('no answer', '10.0.0.1');
  });
  await expect(createIndexAdmin(client, 'dc1').list('ks')).rejects.toBeInstanceOf(ClusterUnreachableError);
});
