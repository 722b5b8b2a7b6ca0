import { Arn, ArnFormat, CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';
import { Alarms } from '../constructs/alarms.ts';
import { jobEnvironment } from '../constructs/job-environment.ts';
import { JobFunction } from '../constructs/job-function.ts';
import { settleFailedWrites, useOverflow } from '../constructs/permissions.ts';
import type { Deployment } from '../deployment.ts';
import { REPLAY_TIMEOUT, type StorageStack } from './storage-stack.ts';

/** How long the breaker may be open before somebody is woken. Seconds. */
const OPEN_SECONDS = 900;

/** Applies failed shadow writes from the queue to the cluster that missed them. */
export class ReplayStack extends Stack {
  constructor(scope: Construct, id: string, deployment: Deployment, storage: StorageStack, props: StackProps) {
    super(scope, id, props);
    const { bucket, failedWrites, deadLetters } = storage;
    const { failedWrites: settings } = deployment.config;
    const { environment, statements } = jobEnvironment(this, deployment, bucket, failedWrites.queueUrl);
    const common = {
      deployment,
      environment: { ...environment, RINGSHIFT_DEAD_LETTER_QUEUE_URL: deadLetters.queueUrl },
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [...statements, useOverflow(bucket), ...settleFailedWrites(failedWrites, deadLetters)],
    };
    const replay = new JobFunction(this, 'Replay', {
      ...common,
      jobName: 'replay-failed-writes',
      description: 'Applies failed shadow writes with their original timestamps',
      memoryMB: 1024,
      timeout: REPLAY_TIMEOUT,
    });
    // Without `enabled`: a deployment leaves a mapping that the breaker has switched off as it is.
    const mapping = new EventSourceMapping(this, 'FailedWrites', {
      target: replay.function,
      eventSourceArn: failedWrites.queueArn,
      // AWS cuts a batch at 6 MB, the payload of an invocation.
      batchSize: settings.batchSize,
      // Beyond ten a window is needed.
      maxBatchingWindow: Duration.seconds(
        settings.batchSize > 10 ? Math.max(1, settings.batchWindowSecs) : settings.batchWindowSecs,
      ),
      maxConcurrency: settings.replayConcurrency,
      reportBatchItemFailures: true,
    });
    const breaker = new JobFunction(this, 'Breaker', {
      ...common,
      jobName: 'replay-breaker',
      description: 'Holds the replay while a cluster does not answer, and asks whether it is back',
      memoryMB: 512,
      timeout: Duration.minutes(1),
      environment: { ...common.environment, RINGSHIFT_EVENT_SOURCE_ID: mapping.eventSourceMappingId },
      // The replay function has none of it: what decides whether it runs stands outside of it.
      statements: [
        ...common.statements,
        new PolicyStatement({
          sid: 'SwitchReplay',
          actions: ['lambda:GetEventSourceMapping', 'lambda:UpdateEventSourceMapping'],
          resources: [
            Arn.format(
              {
                service: 'lambda',
                resource: 'event-source-mapping',
                resourceName: mapping.eventSourceMappingId,
                arnFormat: ArnFormat.COLON_RESOURCE_NAME,
              },
              this,
            ),
          ],
        }),
      ],
    });
    new Rule(this, 'Probe', {
      ruleName: `${deployment.options.name}-replay-breaker`,
      description: 'Asks whether the replay may go on',
      // EventBridge knows whole minutes only.
      schedule: Schedule.rate(Duration.minutes(Math.ceil(settings.probeSecs / 60))),
      targets: [new LambdaFunction(breaker.function, { retryAttempts: 0 })],
    });
    this.#addAlarms(deployment, replay, breaker);
    new CfnOutput(this, 'ReplayFunctionName', { value: replay.functionName });
    new CfnOutput(this, 'ReplayBreakerFunctionName', { value: breaker.functionName });
  }

  #addAlarms(deployment: Deployment, replay: JobFunction, breaker: JobFunction): void {
    const alarms = new Alarms(this, 'Alarms', deployment);
    const ours = (metricName: string) =>
      new Metric({
        namespace: 'Ringshift',
        metricName,
        dimensionsMap: { Migration: deployment.options.name },
        statistic: 'Maximum',
      });
    alarms.above('ReplayErrors', replay.function.metricErrors(), 0, {
      description: 'The replay function itself fails. Read its log; no message is lost meanwhile.',
      periods: 5,
    });
    alarms.above('ReplayBreakerErrors', breaker.function.metricErrors(), 0, {
      description:
        'What holds and resumes the replay fails, so a held replay stays held. Read its log; in a VPC it needs an endpoint for Lambda.',
      periods: 5,
    });
    alarms.above('ReplayHeld', ours('BreakerOpenSeconds'), OPEN_SECONDS, {
      description:
        'A cluster has not answered the replay for more than 15 minutes. Nothing is lost, the queue keeps 14 days. See: ringshift replay status.',
    });
    alarms.above('VanishedInstances', ours('VanishedInstances'), 0, {
      description:
        'A proxy with a disk of its own vanished without a goodbye; what it had written is suspect. See: ringshift tables list, then validate.',
    });
  }
}
