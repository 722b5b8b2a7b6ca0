import { expect, test } from 'vitest';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

test('the origin is Cassandra 4.1, the target 5.0, and both keep what is written', async () => {
  const versions: string[] = [];
  for (const side of ['origin', 'target'] as const) {
    const client = await connectToTestCluster(side);
    try {
      await recreateKeyspace(client, 'local_environment');
      await client.execute('CREATE TABLE local_environment.t (id int PRIMARY KEY, v text)');
      await client.execute('INSERT INTO local_environment.t (id, v) VALUES (?, ?)', [1, side], { prepare: true });
      const rows = await client.execute('SELECT v FROM local_environment.t WHERE id = 1');
      expect(rows.first()?.['v']).toBe(side);
      const local = await client.execute('SELECT release_version FROM system.local');
      versions.push(String(local.first()?.['release_version']));
      await client.execute('DROP KEYSPACE local_environment');
    } finally {
      await client.shutdown();
    }
  }
  expect(versions.map((version) => version.slice(0, 3))).toEqual(['4.1', '5.0']);
});

test('a wrong password is refused: the clusters check them', async () => {
  const saved = process.env['RINGSHIFT_TEST_PASSWORD'];
  process.env['RINGSHIFT_TEST_PASSWORD'] = 'wrong';
  try {
    await expect(connectToTestCluster('origin')).rejects.toThrow();
  } finally {
    process.env['RINGSHIFT_TEST_PASSWORD'] = saved;
  }
});

test('the local AWS answers', async () => {
  const response = await fetch(`${readTestEnvironment().awsEndpoint}/_ministack/health`);
  expect(response.ok).toBe(true);
});
