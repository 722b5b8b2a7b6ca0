import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createCassandraLedgerStore, ledgerTables } from '#adapters/ledger-cassandra.ts';
import { createS3LedgerStore } from '#adapters/ledger-s3.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { itKeepsTheLedgersContract } from '../support/ledger-contract.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const environment = readTestEnvironment();
const { username, password } = environment;
const KEYSPACE = 'ringshift_ledger_test';
const REPLICATION = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";

const s3 = () =>
  new S3Client({
    region: 'us-east-1',
    endpoint: environment.awsEndpoint,
    forcePathStyle: true,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });

itKeepsTheLedgersContract('a bucket', async () => {
  const bucket = `ledger-contract-${process.pid}`;
  await s3().send(new CreateBucketCommand({ Bucket: bucket }));
  return createS3LedgerStore(s3(), bucket, 'ledger/');
});

function openSession(name: 'origin' | 'target') {
  const { host, port } = environment[name];
  const cluster = { contactPoints: [host], port, requestTimeoutMs: 30_000 };
  const { auth: _, ...config } = migrationConfigSchema.parse({ origin: cluster, target: cluster }).origin;
  return createCqlSession({ ...config, name, credentials: { username, password } });
}

describe.each(['origin', 'target'] as const)('in a keyspace of the %s', (name) => {
  afterAll(async () => {
    const session = await openSession(name);
    await session.query(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await session.close();
  });

  const options = {
    openSession: () => openSession(name),
    keyspace: KEYSPACE,
    serial: 'LOCAL_SERIAL',
    consistency: 'LOCAL_QUORUM',
  } as const;

  beforeAll(async () => {
    const session = await openSession(name);
    await session.query(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
    await session.close();
    await expect(createCassandraLedgerStore(options).get('phase.json')).rejects.toThrow(/ringshift state init/);
    const again = await openSession(name);
    for (const statement of ledgerTables(KEYSPACE, REPLICATION)) await again.query(statement);
    await again.close();
  });

  itKeepsTheLedgersContract(`a keyspace of the ${name}`, () => createCassandraLedgerStore(options));

  test('a value that no node would take is refused', async () => {
    const store = createCassandraLedgerStore(options);
    await expect(store.put('big.json', `"${'x'.repeat(1024 * 1024)}"`)).rejects.toThrow(/larger than/);
    await store.close();
  });
});
