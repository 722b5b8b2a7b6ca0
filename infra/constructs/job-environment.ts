import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import type { Construct } from 'constructs';
import { type Deployment, functionConfig } from '../deployment.ts';
import { Prefix, readSecrets, useLedger } from './permissions.ts';

export interface JobEnvironment {
  readonly environment: Readonly<Record<string, string>>;
  /** What every function needs: the ledger, the clusters' credentials, the files of the deployment. */
  readonly statements: readonly PolicyStatement[];
}

/**
 * The variables that all functions of a stack get: the configuration without secrets, and where the filter rules lie.
 * Those may hold thousands of entries, which no variable could, so they are an asset of the deployment.
 */
export function jobEnvironment(
  scope: Construct,
  deployment: Deployment,
  bucket: IBucket,
  queueUrl?: string,
): JobEnvironment {
  const { config, filterRulesFile } = deployment;
  const environment: Record<string, string> = {
    RINGSHIFT_CONFIG: JSON.stringify(functionConfig(config, bucket.bucketName, queueUrl)),
  };
  const ledgerPrefix = config.ledger.kind === 's3' ? config.ledger.prefix : Prefix.Ledger;
  const statements = [...useLedger(bucket, ledgerPrefix), ...readSecrets(scope, deployment.secretNames)];
  return withFile(scope, { environment, statements }, 'FilterRules', 'RINGSHIFT_FILTER_RULES', filterRulesFile);
}

/** The same for planning, which is the only one to need the list of indexes. */
export function planningEnvironment(scope: Construct, deployment: Deployment, common: JobEnvironment): JobEnvironment {
  return withFile(scope, common, 'IndexList', 'RINGSHIFT_INDEX_LIST', deployment.indexListFile);
}

/** With a file as an asset that may be read, and a variable that says where it lies. */
function withFile(
  scope: Construct,
  given: JobEnvironment,
  id: string,
  variable: string,
  path: string | undefined,
): JobEnvironment {
  if (path === undefined) return given;
  const asset = new Asset(scope, id, { path });
  const read = new PolicyStatement({
    sid: `Read${id}`,
    actions: ['s3:GetObject'],
    resources: [asset.bucket.arnForObjects(asset.s3ObjectKey)],
  });
  return {
    environment: { ...given.environment, [variable]: asset.s3ObjectUrl },
    statements: [...given.statements, read],
  };
}
