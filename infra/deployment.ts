/** What the stacks need to know: the migration's configuration, made fit for functions, and the knobs of the context. */

import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { App } from 'aws-cdk-lib';
import { indexListSchema } from '#core/config/index-list.ts';
import { parseYamlAs } from '#core/config/parse.ts';
import type { ClusterConfig, LedgerConfig, MigrationConfig } from '#core/config/schema.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { ConfigError, type ConfigIssue } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';

/** Knobs of `cdk.json` or `--context`; all may be left out. */
export interface DeploymentOptions {
  /** Prefix of all physical names, so that two migrations fit into one account. */
  readonly name: string;
  /** The bucket's name; generated when undefined. */
  readonly bucketName?: string;
  /** Further buckets that hold snapshots; the migration's own may always be read. */
  readonly snapshotBuckets: readonly string[];
  /**
   * `plan`: ranges at once follow from the plan, within the configured limit. `config`: always the configured limit,
   * for emulators that ignore MaxConcurrencyPath.
   */
  readonly mapConcurrency: 'plan' | 'config';
}

/** A file that the functions need beside their code, such as a cluster's CA certificate. */
export interface BundledFile {
  readonly path: string;
  readonly name: string;
}

export interface Deployment {
  readonly options: DeploymentOptions;
  readonly config: MigrationConfig;
  /** Names or ARNs of the secrets that the functions read. */
  readonly secretNames: readonly string[];
  readonly bundledFiles: readonly BundledFile[];
  /** `filter-rules.yaml`, the same that the proxies read. */
  readonly filterRulesFile?: string;
  /** `indexes.yaml`, where the configuration names one. */
  readonly indexListFile?: string;
}

/** Reads the knobs from the context. @throws ConfigError naming each wrong one */
export function readOptions(app: App): DeploymentOptions {
  const text = (key: string): string | undefined => {
    const value: unknown = app.node.tryGetContext(key);
    return value === undefined || value === '' ? undefined : String(value);
  };
  const issues: ConfigIssue[] = [];
  const name = text('name') ?? 'ringshift';
  if (!/^[a-z][a-z0-9-]{1,30}$/.test(name)) {
    issues.push({ path: 'name', message: 'must be 2 to 31 lower-case letters, digits and -, starting with a letter' });
  }
  const mapConcurrency = text('mapConcurrency') ?? 'plan';
  if (mapConcurrency !== 'plan' && mapConcurrency !== 'config') {
    issues.push({ path: 'mapConcurrency', message: 'must be plan or config' });
  }
  if (issues.length > 0) throw new ConfigError('the CDK context', issues);
  return {
    name,
    bucketName: text('bucketName'),
    snapshotBuckets: (text('snapshotBuckets') ?? '').split(',').filter((bucket) => bucket !== ''),
    mapConcurrency: mapConcurrency as 'plan' | 'config',
  };
}

/**
 * Takes what the functions need out of the configuration and refuses what must not reach them: passwords, private keys
 * and files of this machine that don't exist.
 * @throws ConfigError with every fault
 */
export function describeDeployment(config: MigrationConfig, options: DeploymentOptions): Deployment {
  const issues: ConfigIssue[] = [];
  const secretNames = new Set<string>();
  const bundledFiles: BundledFile[] = [];
  const forFunctions = (side: ClusterName, cluster: ClusterConfig): ClusterConfig => {
    const reference = secretReference(cluster);
    if (reference === undefined && cluster.auth !== null) {
      issues.push({
        path: `${side}.auth`,
        message: `functions take credentials from Secrets Manager only: auth: { secret: "secretsmanager:NAME" } (create NAME as {"username": "…", "password": "…"})`,
      });
    } else if (reference !== undefined) {
      secretNames.add(reference);
    }
    if (cluster.tls.keyFile !== null) {
      issues.push({ path: `${side}.tls.keyFile`, message: 'a private key is not put into a function' });
    }
    if (cluster.secureConnectBundle !== null) {
      const message = 'holds a private key, which is not put into a function; load and validate with --local';
      issues.push({ path: `${side}.secureConnectBundle`, message });
    }
    const bundle = (key: 'caFile' | 'certFile') => {
      const path = cluster.tls[key];
      if (path === null) return null;
      if (!existsSync(path)) {
        issues.push({ path: `${side}.tls.${key}`, message: `the file ${path} does not exist` });
        return null;
      }
      // A function's working directory is where its code lies, so a bare name finds the file.
      const file = { path, name: `${side}-${key}-${basename(path).replaceAll(/[^A-Za-z0-9._-]/g, '_')}` };
      bundledFiles.push(file);
      return file.name;
    };
    return {
      ...cluster,
      tls: { ...cluster.tls, caFile: bundle('caFile'), certFile: bundle('certFile'), keyFile: null },
    };
  };
  const filterRulesFile = config.proxy.filterRules ?? undefined;
  if (filterRulesFile !== undefined && !existsSync(filterRulesFile)) {
    issues.push({ path: 'proxy.filterRules', message: `the file ${filterRulesFile} does not exist` });
  }
  const indexListFile = config.bulkLoad.indexList ?? undefined;
  if (indexListFile !== undefined && !existsSync(indexListFile)) {
    issues.push({ path: 'bulkLoad.indexList', message: `the file ${indexListFile} does not exist` });
  } else if (indexListFile !== undefined) {
    // A fault is found here and now, not by the first load.
    parseYamlAs(indexListSchema, readFileSync(indexListFile, 'utf8'), indexListFile, {});
  }
  const prepared = {
    ...config,
    bulkLoad: { ...config.bulkLoad, indexList: null },
    origin: forFunctions('origin', config.origin),
    target: forFunctions('target', config.target),
    proxy: migrationConfigSchema.shape.proxy.parse({}),
  };
  if (issues.length > 0) throw new ConfigError('the configuration, as functions would get it,', issues);
  return { options, config: prepared, secretNames: [...secretNames], bundledFiles, filterRulesFile, indexListFile };
}

function secretReference(cluster: ClusterConfig): string | undefined {
  if (cluster.auth === null) return undefined;
  const value = 'secret' in cluster.auth ? cluster.auth.secret : cluster.auth.password;
  return value.startsWith('secretsmanager:') ? value.slice('secretsmanager:'.length) : undefined;
}

/**
 * The configuration as JSON without what the schema fills in anyway: all variables of a function together may have
 * 4 KiB only. `bucket` and `queueUrl` may be unresolved tokens of CloudFormation.
 */
export function functionConfig(config: MigrationConfig, bucket: string, queueUrl?: string): Record<string, unknown> {
  const full = {
    ...config,
    ledger: ledgerOfFunctions(config.ledger, bucket),
    failedWrites: { ...config.failedWrites, kind: 'sqs', path: null, queueUrl: queueUrl ?? null },
    deploy: {},
  };
  const wanted = JSON.stringify(migrationConfigSchema.parse(full));
  const pruned = structuredClone(full) as Record<string, unknown>;
  prune(pruned, () => {
    const parsed = migrationConfigSchema.safeParse(pruned);
    return parsed.success && JSON.stringify(parsed.data) === wanted;
  });
  return pruned;
}

/** A ledger in a directory is of one machine; in the deployment it is in the bucket. */
function ledgerOfFunctions(ledger: LedgerConfig, bucket: string): Record<string, unknown> {
  if (ledger.kind === 'cassandra') return { ...ledger, bucket };
  return { kind: 's3', bucket, prefix: ledger.kind === 's3' ? ledger.prefix : 'ledger/' };
}

/** Removes, outermost first, each property without which the schema still gives the same result. */
function prune(object: Record<string, unknown>, isSame: () => boolean): void {
  for (const [key, value] of Object.entries(object)) {
    delete object[key];
    if (isSame()) continue;
    object[key] = value;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      prune(value as Record<string, unknown>, isSame);
    }
  }
}
