import { expect, test } from 'vitest';
import { datacentersOf, findReplication, withReplication } from '#core/statement/keyspace-replication.ts';

const CREATE = `CREATE KEYSPACE IF NOT EXISTS "K" WITH REPLICATION = {'class': 'NetworkTopologyStrategy', 'dc1': '3', 'dc2': 2} AND durable_writes = true;`;

test('data centres are those of NetworkTopologyStrategy', () => {
  expect(datacentersOf(findReplication(CREATE)!)).toEqual(['dc1', 'dc2']);
  const simple = `ALTER SCHEMA k WITH replication={'class':'SimpleStrategy','replication_factor':1}`;
  expect(datacentersOf(findReplication(simple)!)).toEqual([]);
  const all = `CREATE KEYSPACE k WITH replication = {'class': 'org.apache.cassandra.locator.NetworkTopologyStrategy', 'replication_factor': 3}`;
  expect(datacentersOf(findReplication(all)!)).toEqual([]);
});

test('only the map is exchanged', () => {
  expect(withReplication(CREATE, " {'class': 'X'} ")).toBe(
    `CREATE KEYSPACE IF NOT EXISTS "K" WITH REPLICATION = {'class': 'X'} AND durable_writes = true;`,
  );
});

test.each([
  'ALTER KEYSPACE k WITH durable_writes = false',
  `INSERT INTO t (a) VALUES ('CREATE KEYSPACE k WITH replication = {}')`,
  'CREATE TABLE k (replication int PRIMARY KEY)',
  `CREATE KEYSPACE k WITH replication = {'class' 'X'}`,
  `CREATE KEYSPACE k WITH replication = {'class': `,
  '',
])('%s has none that is understood, and stays as it is', (text) => {
  expect(findReplication(text)).toBeUndefined();
  expect(withReplication(text, '{}')).toBe(text);
});
