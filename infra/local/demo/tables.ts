/** What the demo's application keeps: the tables of the reference systems, and one that has every kind of column. */

export const keyspaces = ['iconik_production', 'files_keyspace', 'test'] as const;

export interface DemoTable {
  readonly keyspace: (typeof keyspaces)[number];
  readonly table: string;
}

export const tables: readonly DemoTable[] = [
  { keyspace: 'iconik_production', table: 'media_assets' },
  { keyspace: 'iconik_production', table: 'media_chunks' },
  { keyspace: 'iconik_production', table: 'showcase' },
  { keyspace: 'files_keyspace', table: 'files' },
  { keyspace: 'test', table: 'tasks' },
];

/** The table whose multi-cell columns are compared cell by cell: CQL of 4.1 cannot read their write times. */
export const multiCellTable: DemoTable = { keyspace: 'iconik_production', table: 'showcase' };

const simple = (keyspace: string): string =>
  `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`;

/** Made on the origin alone; `ringshift schema copy` brings it to the target. */
export const schemaStatements: readonly string[] = [
  ...keyspaces.map(simple),
  `CREATE TABLE iconik_production.media_assets (
     id uuid PRIMARY KEY, title text, media_type text, duration_seconds int, codec text, size_mb int, status text,
     created_at timestamp)`,
  `CREATE TABLE iconik_production.media_chunks (
     asset_id uuid, chunk_number int, checksum text, size_bytes int, storage_path text,
     PRIMARY KEY (asset_id, chunk_number))`,
  `CREATE TABLE files_keyspace.files (
     system_domain_id uuid, id uuid, name text, size int, status text,
     PRIMARY KEY (system_domain_id, id))`,
  'CREATE TABLE test.tasks (id uuid PRIMARY KEY, task text)',
  'CREATE TYPE iconik_production.dimension (width int, height int)',
  `CREATE TABLE iconik_production.showcase (
     account text, item int, owner text static, label text, tags set<text>, scores map<text, int>, history list<text>,
     fixed frozen<list<int>>, size frozen<dimension>, shape dimension,
     PRIMARY KEY (account, item)) WITH CLUSTERING ORDER BY (item DESC)`,
];

/** How many of each the seed makes; together more than 100,000 rows. */
export const amounts = {
  assets: 20_000,
  chunkedAssets: 600,
  chunksPerAsset: 100,
  fileDomains: 150,
  filesPerDomain: 100,
  tasks: 5000,
  accounts: 300,
  itemsPerAccount: 20,
} as const;

export const insertAsset = `INSERT INTO iconik_production.media_assets
  (id, title, media_type, duration_seconds, codec, size_mb, status, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;
export const insertChunk = `INSERT INTO iconik_production.media_chunks
  (asset_id, chunk_number, checksum, size_bytes, storage_path) VALUES (?, ?, ?, ?, ?)`;
export const insertFile =
  'INSERT INTO files_keyspace.files (system_domain_id, id, name, size, status) VALUES (?, ?, ?, ?, ?)';
export const insertTask = 'INSERT INTO test.tasks (id, task) VALUES (?, ?)';
export const insertShowcase = `INSERT INTO iconik_production.showcase
  (account, item, label, tags, scores, history, fixed, size, shape) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
