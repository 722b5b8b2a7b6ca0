/** Composition root of all functions: what an execution environment makes once and keeps across invocations. */

import { randomUUID } from 'node:crypto';
import { createS3Client, createSecretsManagerClient } from '#adapters/aws-clients.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { openCassandraLedger } from '#adapters/ledger.ts';
import { createS3LedgerStore } from '#adapters/ledger-s3.ts';
import { createS3ObjectStore, parseS3Uri } from '#adapters/s3.ts';
import { createSecretReader } from '#adapters/secrets.ts';
import { type IndexList, indexListSchema } from '#core/config/index-list.ts';
import { bucketOf } from '#core/config/ledger-schema.ts';
import { parseMigrationConfig, parseYamlAs } from '#core/config/parse.ts';
import type { MigrationConfig, ResolvedCluster } from '#core/config/schema.ts';
import { AuthenticationFailedError, ConfigError, PrerequisiteError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { type FilterRules, NO_FILTER_RULES, parseFilterRules } from '#core/filter/filter-rules.ts';
import { withAuthor } from '#core/ledger/authored-store.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Clock, LedgerStore, LoadSession, ObjectStore } from '#core/ports.ts';

export interface JobEnvironment {
  readonly config: MigrationConfig;
  readonly filter: Filter;
  /** What the filter was made from, for plans that keep it. */
  readonly filterRules: FilterRules;
  /** Reads indexes.yaml, which only planning needs; undefined where the configuration names none. */
  readIndexList(): Promise<IndexList | undefined>;
  readonly bucket: string;
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
  /** Another bucket, such as one with snapshots. */
  openBucket(bucket: string): ObjectStore;
  /** Where messages go that can never be applied; undefined for functions without a queue. */
  readonly deadLetterQueueUrl: string | undefined;
  /** One session for each cluster (and keyspace that unqualified names mean), opened at the first call. */
  session(side: ClusterName, keyspace?: string | null): Promise<LoadSession>;
  /** The cluster with its credentials, for what needs a connection of its own. */
  cluster(side: ClusterName): Promise<ResolvedCluster>;
}

type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Reads the variables that the deployment sets: RINGSHIFT_CONFIG (JSON without secrets) and, where there are filter
 * rules, RINGSHIFT_FILTER_RULES, and where there is a list of indexes, RINGSHIFT_INDEX_LIST (s3:// URIs).
 * @throws ConfigError, ObjectStoreError
 */
export async function createJobEnvironment(variables: Variables = process.env): Promise<JobEnvironment> {
  const text = variables['RINGSHIFT_CONFIG'];
  if (text === undefined) {
    throw new ConfigError('the environment', [{ path: 'RINGSHIFT_CONFIG', message: 'is not set; deploy with cdk' }]);
  }
  // JSON is YAML; an empty environment, since the deployment has put every variable in place.
  const config = parseMigrationConfig(text, 'RINGSHIFT_CONFIG', {});
  const bucket = bucketOf(config.ledger);
  if (bucket === undefined) {
    throw new ConfigError('RINGSHIFT_CONFIG', [{ path: 'ledger.bucket', message: 'functions need a bucket' }]);
  }
  const s3 = createS3Client(variables);
  const secrets = createSecretReader(createSecretsManagerClient());
  const openBucket = (name: string) => createS3ObjectStore(s3, name);
  const filterRules = await readFilterRules(variables['RINGSHIFT_FILTER_RULES'], openBucket);
  const sessions = new Map<string, Promise<LoadSession>>();
  const cluster = (side: ClusterName) => resolveCluster(side, config[side], () => secrets);

  async function openSession(side: ClusterName, keyspace: string | null): Promise<LoadSession> {
    try {
      return await createCqlSession(await cluster(side), undefined, keyspace ?? undefined);
    } catch (error) {
      if (error instanceof AuthenticationFailedError) forgetSecret(config, side, (name) => secrets.forget(name));
      throw error;
    }
  }

  const name = variables['AWS_LAMBDA_FUNCTION_NAME'] ?? 'a function';
  const author = { by: name, why: variables['_HANDLER'] ?? name };
  return {
    config,
    filter: createFilter(filterRules),
    filterRules,
    readIndexList: () => readIndexList(variables['RINGSHIFT_INDEX_LIST'], openBucket),
    bucket,
    objects: openBucket(bucket),
    ledger: createLedger(withAuthor(await openStore(config, s3, openSession), author, changePorts)),
    clock: { nowMillis: Date.now },
    openBucket,
    cluster,
    deadLetterQueueUrl: variables['RINGSHIFT_DEAD_LETTER_QUEUE_URL'],
    session(side, keyspace = null) {
      const key = JSON.stringify([side, keyspace]);
      let session = sessions.get(key);
      if (session === undefined) {
        session = openSession(side, keyspace);
        sessions.set(key, session);
        // A failure must not be remembered: the next invocation tries again.
        session.catch(() => sessions.delete(key));
      }
      return session;
    },
  };
}

const changePorts = { now: () => new Date(), newId: randomUUID };

async function openStore(
  config: MigrationConfig,
  s3: ReturnType<typeof createS3Client>,
  openSession: (side: ClusterName, keyspace: string | null) => Promise<LoadSession>,
): Promise<LedgerStore> {
  const { ledger } = config;
  if (ledger.kind === 's3') return createS3LedgerStore(s3, ledger.bucket, ledger.prefix);
  if (ledger.kind === 'file') throw new TypeError('a function has no directory that lasts');
  return openCassandraLedger(ledger, config, () => openSession(ledger.cluster, null));
}

function forgetSecret(config: MigrationConfig, side: ClusterName, forget: (name: string) => void): void {
  const { auth } = config[side];
  if (auth === null) return;
  const reference = 'secret' in auth ? auth.secret : auth.password;
  forget(reference.slice('secretsmanager:'.length));
}

async function readFilterRules(
  uri: string | undefined,
  openBucket: (bucket: string) => ObjectStore,
): Promise<FilterRules> {
  // Going on without the rules would move what must stay.
  const text = await readAsset(uri, 'the filter rules', openBucket);
  return text === undefined ? NO_FILTER_RULES : parseFilterRules(text, uri!);
}

async function readIndexList(
  uri: string | undefined,
  openBucket: (bucket: string) => ObjectStore,
): Promise<IndexList | undefined> {
  // Going on without the list would drop indexes that must stay.
  const text = await readAsset(uri, 'the list of indexes', openBucket);
  return text === undefined ? undefined : parseYamlAs(indexListSchema, text, uri!, {});
}

/** A file of the deployment. @throws PrerequisiteError when it is not where the deployment has put it */
async function readAsset(
  uri: string | undefined,
  what: string,
  openBucket: (bucket: string) => ObjectStore,
): Promise<string | undefined> {
  if (uri === undefined) return undefined;
  const place = parseS3Uri(uri);
  const bytes = place && (await openBucket(place.bucket).get(place.key));
  if (bytes === undefined) throw new PrerequisiteError(`${what} ${uri} are not there: deploy again with cdk`);
  return new TextDecoder().decode(bytes);
}
