import type { PolicyStatement as Statement } from 'aws-cdk-lib/aws-iam';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import type { Construct } from 'constructs';
import { type Deployment, functionConfig } from '../deployment.ts';
import { Prefix } from './permissions.ts';

export interface JobEnvironment {
  readonly environment: Readonly<Record<string, string>>;
  readonly ledgerPrefix: string;
  /** What reading the filter rules needs; empty when there are none. */
  readonly rulesStatements: readonly Statement[];
}

/**
 * The variables that all functions of a stack get: the configuration without secrets, and where the filter rules lie.
 * The rules may hold thousands of tenants, which no variable could, so they are an asset of the deployment.
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
  const rulesStatements: Statement[] = [];
  if (filterRulesFile !== undefined) {
    const rules = new Asset(scope, 'FilterRules', { path: filterRulesFile });
    environment['RINGSHIFT_FILTER_RULES'] = rules.s3ObjectUrl;
    rulesStatements.push(
      new PolicyStatement({
        sid: 'ReadFilterRules',
        actions: ['s3:GetObject'],
        resources: [rules.bucket.arnForObjects(rules.s3ObjectKey)],
      }),
    );
  }
  return {
    environment,
    ledgerPrefix: config.ledger.kind === 's3' ? config.ledger.prefix : Prefix.Ledger,
    rulesStatements,
  };
}
