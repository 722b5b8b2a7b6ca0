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
 * The variables that all functions of a stack get: the configuration without secrets, and where the filter rules and the
 * list of indexes lie. Those may hold thousands of entries, which no variable could, so they are assets of the deployment.
 */
export function jobEnvironment(
  scope: Construct,
  deployment: Deployment,
  bucket: IBucket,
  queueUrl?: string,
): JobEnvironment {
  const { config, filterRulesFile, indexListFile } = deployment;
  const environment: Record<string, string> = {
    RINGSHIFT_CONFIG: JSON.stringify(functionConfig(config, bucket.bucketName, queueUrl)),
  };
  const ledgerPrefix = config.ledger.kind === 's3' ? config.ledger.prefix : Prefix.Ledger;
  const statements = [...useLedger(bucket, ledgerPrefix), ...readSecrets(scope, deployment.secretNames)];
  const files = [
    ['FilterRules', 'RINGSHIFT_FILTER_RULES', filterRulesFile],
    ['IndexList', 'RINGSHIFT_INDEX_LIST', indexListFile],
  ] as const;
  for (const [id, variable, path] of files) {
    if (path === undefined) continue;
    const asset = new Asset(scope, id, { path });
    environment[variable] = asset.s3ObjectUrl;
    statements.push(
      new PolicyStatement({
        sid: `Read${id}`,
        actions: ['s3:GetObject'],
        resources: [asset.bucket.arnForObjects(asset.s3ObjectKey)],
      }),
    );
  }
  return { environment, statements };
}
