import { randomUUID } from 'node:crypto';
import type { LedgerConfig, MigrationConfig } from '#core/config/schema.ts';
import { type Author, withAuthor } from '#core/ledger/authored-store.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { CqlSession, LedgerStore } from '#core/ports.ts';

type Config = Pick<MigrationConfig, 'ledger' | 'origin' | 'target'>;
type CassandraLedger = Extract<LedgerConfig, { readonly kind: 'cassandra' }>;

/**
 * The ledger that the config names; nothing is contacted before its first call. What a store needs (25 MiB of clients of
 * AWS) is loaded where it is asked for only.
 */
export async function openLedger(config: Config, author: Author): Promise<Ledger> {
  const store = await openLedgerStore(config);
  return createLedger(withAuthor(store, author, { now: () => new Date(), newId: randomUUID }));
}

/** Its store, for whoever copies records as they are. */
export async function openLedgerStore(config: Config): Promise<LedgerStore> {
  const { ledger } = config;
  if (ledger.kind === 'file') {
    const { createFileLedgerStore } = await import('./ledger-file.ts');
    return createFileLedgerStore(ledger.path);
  }
  if (ledger.kind === 's3') {
    const [{ createS3Client }, { createS3LedgerStore }] = await Promise.all([
      import('./aws-clients.ts'),
      import('./ledger-s3.ts'),
    ]);
    return createS3LedgerStore(createS3Client(), ledger.bucket, ledger.prefix);
  }
  return openCassandraLedger(ledger, config, () => openSession(ledger.cluster, config));
}

/** The store in a keyspace, over sessions that the caller opens. */
export async function openCassandraLedger(
  ledger: CassandraLedger,
  config: Config,
  openSession: () => Promise<CqlSession>,
): Promise<LedgerStore> {
  const { createCassandraLedgerStore } = await import('./ledger-cassandra.ts');
  const { serial } = config[ledger.cluster].consistency;
  // Whatever the data of the application can do with: a read must meet every commit.
  const consistency = serial === 'SERIAL' ? 'QUORUM' : 'LOCAL_QUORUM';
  return createCassandraLedgerStore({ openSession, keyspace: ledger.keyspace, serial, consistency });
}

async function openSession(cluster: ClusterName, config: Config): Promise<CqlSession> {
  const [{ resolveCluster }, { createCqlSession }] = await Promise.all([
    import('./config-file.ts'),
    import('./cql/session.ts'),
  ]);
  return createCqlSession(await resolveCluster(cluster, config[cluster]));
}
