/** The statements that functions and state machines are given, each as narrow as the service allows. */

import { ArnFormat, Stack } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';

/** Prefixes of the migration's bucket. */
export const Prefix = { Ledger: 'ledger/', Runs: 'runs/', Overflow: 'failed-writes/overflow/' } as const;

/** Read, conditionally write and remove the ledger's records; list them. */
export function useLedger(bucket: IBucket, prefix: string): PolicyStatement[] {
  return [
    new PolicyStatement({
      sid: 'UseLedger',
      actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'],
      resources: [bucket.arnForObjects(`${prefix}*`)],
    }),
    // Without s3:ListBucket S3 answers 403 instead of 404 for a record that does not exist.
    listBucket(bucket),
  ];
}

/** Read and write plans, manifests and reports. */
export function useRuns(bucket: IBucket): PolicyStatement {
  return new PolicyStatement({
    sid: 'UseRuns',
    actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'],
    resources: [bucket.arnForObjects(`${Prefix.Runs}*`)],
  });
}

/** Read snapshots, wherever in these buckets they lie. */
export function readSnapshots(bucket: IBucket, others: readonly string[]): PolicyStatement[] {
  const stack = Stack.of(bucket);
  const arn = (name: string) => stack.formatArn({ service: 's3', region: '', account: '', resource: name });
  return [
    new PolicyStatement({
      sid: 'ReadSnapshots',
      actions: ['s3:GetObject'],
      resources: [bucket.arnForObjects('*'), ...others.map((name) => `${arn(name)}/*`)],
    }),
    ...(others.length === 0
      ? []
      : [new PolicyStatement({ sid: 'ListSnapshots', actions: ['s3:ListBucket'], resources: others.map(arn) })]),
  ];
}

/** Read the bodies of failed writes that were too large for the queue, and write those of what is sent again. */
export function useOverflow(bucket: IBucket): PolicyStatement {
  return new PolicyStatement({
    sid: 'UseOverflow',
    actions: ['s3:GetObject', 's3:PutObject'],
    resources: [bucket.arnForObjects(`${Prefix.Overflow}*`)],
  });
}

/** Take failed writes from their queue, send them again, bury what can never be applied. */
export function settleFailedWrites(queue: IQueue, deadLetters: IQueue): PolicyStatement[] {
  return [
    new PolicyStatement({
      sid: 'ConsumeFailedWrites',
      actions: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
      resources: [queue.queueArn],
    }),
    new PolicyStatement({ sid: 'SendAgain', actions: ['sqs:SendMessage'], resources: [queue.queueArn] }),
    new PolicyStatement({ sid: 'BuryFailedWrites', actions: ['sqs:SendMessage'], resources: [deadLetters.queueArn] }),
  ];
}

/** Read the clusters' credentials. A secret's ARN ends in six characters that are not known from its name. */
export function readSecrets(scope: Construct, names: readonly string[]): PolicyStatement[] {
  if (names.length === 0) return [];
  const resources = names.map((name) =>
    name.startsWith('arn:')
      ? name
      : Stack.of(scope).formatArn({
          service: 'secretsmanager',
          resource: 'secret',
          resourceName: `${name}-??????`,
          arnFormat: ArnFormat.COLON_RESOURCE_NAME,
        }),
  );
  return [new PolicyStatement({ sid: 'ReadCredentials', actions: ['secretsmanager:GetSecretValue'], resources })];
}

export interface FailedWriteQueues {
  readonly failedWrites: IQueue;
  readonly deadLetters: IQueue;
}

/** What a proxy outside AWS needs: the ledger, and a way for the writes that the shadow missed. */
export function proxyStatements(
  bucket: IBucket,
  { failedWrites, deadLetters }: FailedWriteQueues,
  ledgerPrefix: string,
): PolicyStatement[] {
  return [
    new PolicyStatement({ sid: 'SendFailedWrites', actions: ['sqs:SendMessage'], resources: [failedWrites.queueArn] }),
    // How much waits and how much is dead: a change of phase through the proxy goes by it, and its metrics show it.
    new PolicyStatement({
      sid: 'CountFailedWrites',
      actions: ['sqs:GetQueueAttributes', 'sqs:GetQueueUrl'],
      resources: [failedWrites.queueArn, deadLetters.queueArn],
    }),
    new PolicyStatement({
      sid: 'PutOverflow',
      actions: ['s3:PutObject'],
      resources: [bucket.arnForObjects(`${Prefix.Overflow}*`)],
    }),
    new PolicyStatement({
      sid: 'UseLedger',
      actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'],
      resources: [bucket.arnForObjects(`${ledgerPrefix}*`)],
    }),
    new PolicyStatement({
      sid: 'ListLedger',
      actions: ['s3:ListBucket'],
      resources: [bucket.bucketArn],
      // IfExists: reading a record that is not there is answered with 404 only where listing is allowed, and such a
      // request has no prefix.
      conditions: { StringLikeIfExists: { 's3:prefix': `${ledgerPrefix}*` } },
    }),
  ];
}

function listBucket(bucket: IBucket): PolicyStatement {
  return new PolicyStatement({ sid: 'ListBucket', actions: ['s3:ListBucket'], resources: [bucket.bucketArn] });
}
