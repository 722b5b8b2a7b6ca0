import { Annotations, CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { Alarms } from '../constructs/alarms.ts';
import { jobEnvironment } from '../constructs/job-environment.ts';
import { JobFunction } from '../constructs/job-function.ts';
import { readOverflow } from '../constructs/permissions.ts';
import type { Deployment } from '../deployment.ts';
import { REPLAY_TIMEOUT, type StorageStack } from './storage-stack.ts';

/** SQS allows no fewer; enough to drain an outage without pressing a cluster that just came back. */
const MAX_CONCURRENT_BATCHES = 4;

/** The payload of one invocation may not pass 6 MiB, and a message has up to 256 KiB. */
const MAX_BATCH_MESSAGES = 20;

/** Applies failed shadow writes from the queue to the cluster that missed them. */
export class ReplayStack extends Stack {
  constructor(scope: Construct, id: string, deployment: Deployment, storage: StorageStack, props: StackProps) {
    super(scope, id, props);
    const { bucket, failedWrites, deadLetters } = storage;
    const { environment, statements } = jobEnvironment(this, deployment, bucket, failedWrites.queueUrl);
    const replay = new JobFunction(this, 'Replay', {
      deployment,
      jobName: 'replay-failed-writes',
      description: 'Applies failed shadow writes with their original timestamps',
      memoryMB: 1024,
      timeout: REPLAY_TIMEOUT,
      environment: { ...environment, RINGSHIFT_DEAD_LETTER_QUEUE_URL: deadLetters.queueUrl },
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [
        ...statements,
        readOverflow(bucket),
        new PolicyStatement({
          sid: 'ConsumeFailedWrites',
          actions: ['sqs:ReceiveMessage', 'sqs:DeleteMessage', 'sqs:ChangeMessageVisibility', 'sqs:GetQueueAttributes'],
          resources: [failedWrites.queueArn],
        }),
        new PolicyStatement({
          sid: 'BuryFailedWrites',
          actions: ['sqs:SendMessage'],
          resources: [deadLetters.queueArn],
        }),
        new PolicyStatement({
          sid: 'SendAgain',
          actions: ['sqs:SendMessage'],
          resources: [failedWrites.queueArn],
        }),
      ],
    });
    const { batchSize } = deployment.config.failedWrites;
    if (batchSize > MAX_BATCH_MESSAGES) {
      Annotations.of(this).addInfo(
        `failedWrites.batchSize: ${batchSize} holds for the proxies; the replay function takes ${MAX_BATCH_MESSAGES} messages at a time, as many as surely fit into an invocation`,
      );
    }
    new EventSourceMapping(this, 'FailedWrites', {
      target: replay.function,
      eventSourceArn: failedWrites.queueArn,
      // Beyond ten a batch window is needed.
      batchSize: Math.min(batchSize, MAX_BATCH_MESSAGES),
      maxBatchingWindow: Duration.seconds(1),
      maxConcurrency: MAX_CONCURRENT_BATCHES,
      reportBatchItemFailures: true,
    });
    new Alarms(this, 'Alarms', deployment).above('ReplayErrors', replay.function.metricErrors(), 0, {
      description: 'The replay function itself fails. Read its log; no message is lost meanwhile.',
      periods: 5,
    });
    new CfnOutput(this, 'ReplayFunctionName', { value: replay.functionName });
  }
}
