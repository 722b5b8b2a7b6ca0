/** The AWS half as a user deploys it, in the tests' local AWS: own names, so that nothing else there is touched. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeleteObjectsCommand, ListObjectVersionsCommand } from '@aws-sdk/client-s3';
import { PurgeQueueCommand } from '@aws-sdk/client-sqs';
import { parse, stringify } from 'yaml';
import { createS3Client, createSqsClient } from '#adapters/aws-clients.ts';
import { deployStacks, outputNamed, type StackOutputs } from '../../infra/local/cdk.ts';
import { type LocalEnvironment, testEnvironment } from '../../infra/local/environment.ts';
import { migrationYaml, putSecrets } from '../../infra/local/local-migration.ts';

/** Prefix of every physical name, and of the command's state machines by RINGSHIFT_NAME. */
export const NAME = 'aws-half';
const BUCKET = 'aws-half-bucket';

export interface DeployedHalf {
  readonly configFile: string;
  readonly bucket: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly outputs: StackOutputs;
}

/** `cdk deploy --all`, with a validation schedule for this keyspace, that is switched off. */
export async function deployAwsHalf(scheduledKeyspace: string): Promise<DeployedHalf> {
  const folder = join(testEnvironment.folder, NAME);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const configFile = join(folder, 'migration.yaml');
  const write = (deployed: { bucket: string; queueUrl: string }) =>
    writeFileSync(configFile, configYaml({ ...testEnvironment, folder }, deployed, scheduledKeyspace));
  write({ bucket: 'known-after-deploy', queueUrl: 'https://known.after.deploy' });
  await putSecrets(testEnvironment.aws);
  const outputs = await deployStacks(
    { ...testEnvironment.aws, folder },
    { context: { config: configFile, name: NAME, bucketName: BUCKET, mapConcurrency: 'config' } },
  );
  const output = (name: string): string => {
    const value = outputNamed(outputs, name);
    if (value === undefined) throw new Error(`cdk deploy gave no output ${name}`);
    return value;
  };
  const deployed = {
    configFile,
    bucket: output('BucketName'),
    queueUrl: output('FailedWritesQueueUrl'),
    deadLetterQueueUrl: output('DeadLetterQueueUrl'),
    outputs,
  };
  write(deployed);
  await forgetEarlierRuns(deployed);
  return deployed;
}

function configYaml(
  environment: LocalEnvironment,
  deployed: { readonly bucket: string; readonly queueUrl: string },
  scheduledKeyspace: string,
): string {
  const config = parse(migrationYaml(environment, deployed)) as Record<string, Record<string, unknown>>;
  return stringify({
    ...config,
    proxy: { ...config['proxy'], filterRules: null },
    bulkLoad: { ...config['bulkLoad'], rangeMB: 1 },
    validation: {
      settleMs: 200,
      rangesPerTable: 2,
      maxConcurrency: 2,
      schedule: { enabled: false, rate: 'rate(1 day)', keyspaces: [scheduledKeyspace] },
    },
  });
}

/** Where the local AWS was left running, the stacks are there already, with what an earlier run put into them. */
async function forgetEarlierRuns({ bucket, queueUrl, deadLetterQueueUrl }: DeployedHalf): Promise<void> {
  const s3 = createS3Client();
  const sqs = createSqsClient();
  try {
    for (;;) {
      const listed = await s3.send(new ListObjectVersionsCommand({ Bucket: bucket, MaxKeys: 1000 }));
      const versions = [...(listed.Versions ?? []), ...(listed.DeleteMarkers ?? [])];
      if (versions.length === 0) break;
      const objects = versions.map(({ Key, VersionId }) => ({ Key, VersionId }));
      await s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: objects, Quiet: true } }));
    }
    for (const url of [queueUrl, deadLetterQueueUrl]) await sqs.send(new PurgeQueueCommand({ QueueUrl: url }));
  } finally {
    s3.destroy();
    sqs.destroy();
  }
}
