import { afterEach, expect, test } from 'vitest';
import { bodyOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { decodeText, encodeText } from '#core/cql/value-codec.ts';
import { encodePlainQuery } from '../../../proxy-container/src/upstream/handshake.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import type { MockCluster } from '../../support/mock-cluster.ts';

let world: TestProxy | undefined;

afterEach(async () => {
  await world?.stop();
  world = undefined;
});

/** Answers as Cassandra's DescribeStatement: columns of a table `system.describe` that there is not. */
function describes(cluster: MockCluster, names: readonly string[], values: readonly string[]): void {
  const type = { kind: 'native', name: 'text' } as const;
  const columns = names.map((name) => ({ keyspace: 'system', table: 'describe', name, type }));
  const body = encodeRows({ columnCount: names.length, columns }, [values.map(encodeText)]);
  cluster.handlers.set(Opcode.QUERY, () => ({ opcode: Opcode.RESULT, body }));
}

async function ask(text: string, version: 4 | 5): Promise<unknown> {
  const client = await world!.connect(version);
  const reply = await client.request(Opcode.QUERY, 0, encodePlainQuery(text, version), 20_000);
  const result = decodeResult(bodyOf(reply), version);
  return result.kind === 'rows' ? result.rows.map((row) => row.map((value) => value && decodeText(value))) : result;
}

test.each([4, 5] as const)(
  'DESCRIBE CLUSTER names the cluster as drivers know it, in every phase, in v%i',
  async (version) => {
    world = await startTestProxy({ initialPhase: 'target-primary' }, { maxVersion: version });
    describes(world.target, ['cluster', 'partitioner', 'snitch'], ['the target', 'Murmur3Partitioner', 'a snitch']);
    expect(await ask('DESCRIBE CLUSTER', version)).toEqual([['mock', 'Murmur3Partitioner', 'a snitch']]);
    expect(await ask('desc cluster', version)).toEqual([['mock', 'Murmur3Partitioner', 'a snitch']]);
  },
);

test('other answers to DESCRIBE are the cluster’s own', async () => {
  world = await startTestProxy({ topology: { clusterName: 'shown' } });
  describes(world.origin, ['keyspace_name', 'type', 'name'], ['ks', 'keyspace', 'ks']);
  expect(await ask('DESCRIBE KEYSPACES', 4)).toEqual([['ks', 'keyspace', 'ks']]);
});
