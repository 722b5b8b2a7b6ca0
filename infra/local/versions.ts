/** The Cassandra versions that run locally: the usual origin and a newer target. */
export const CassandraVersion = { origin: '4.1.10', target: '5.0.9' } as const;
export type CassandraVersion = (typeof CassandraVersion)[keyof typeof CassandraVersion];

/** The oldest that runs here, on Java 17; only tests of its SSTables fetch it. */
export const OLDEST_CASSANDRA = '4.0.19';

/** What the virtual environment holds: the local AWS, cqlsh, and a driver that shares no code with ours, with compression. */
export const pythonRequirements = [
  'ministack[full]==1.5.33',
  'cqlsh==6.2.2',
  'cassandra-driver==3.30.1',
  'lz4==4.4.5',
  'python-snappy==0.7.3',
] as const;
