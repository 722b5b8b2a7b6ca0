import { CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { Alarms } from '../constructs/alarms.ts';
import { jobEnvironment } from '../constructs/job-environment.ts';
import { JobFunction } from '../constructs/job-function.ts';
import { readSnapshots, useRuns } from '../constructs/permissions.ts';
import { RangeStateMachine } from '../constructs/range-state-machine.ts';
import type { Deployment } from '../deployment.ts';
import type { PlanningStack } from './planning-stack.ts';

/** Memory beside the budget, which a load of many SSTables uses up: the SDK, and what the platform itself takes. */
const RUNTIME_MB = 512;

/** Snapshots from S3 into the target. */
export class BulkLoadStack extends Stack {
  constructor(
    scope: Construct,
    id: string,
    deployment: Deployment,
    bucket: IBucket,
    planning: PlanningStack,
    props: StackProps,
  ) {
    super(scope, id, props);
    const { options, config } = deployment;
    const { environment, statements } = jobEnvironment(this, deployment, bucket);
    const loadRange = new JobFunction(this, 'LoadRange', {
      deployment,
      jobName: 'load-range',
      description: 'Loads one token range of a snapshot into the target',
      // At 1,769 MB a function has one whole CPU, which decoding uses.
      memoryMB: Math.min(10_240, Math.max(1769, config.bulkLoad.memoryBudgetMB + RUNTIME_MB)),
      timeout: Duration.minutes(15),
      environment,
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [...statements, useRuns(bucket), ...readSnapshots(bucket, options.snapshotBuckets)],
    });
    const loadIndexes = new JobFunction(this, 'LoadIndexes', {
      deployment,
      jobName: 'load-indexes',
      description: "Drops the target's secondary indexes before a load and builds them again after it",
      memoryMB: 512,
      timeout: Duration.minutes(15),
      environment,
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements,
    });
    const machine = new RangeStateMachine(this, 'BulkLoad', {
      deployment,
      machineName: 'bulk-load',
      comment: 'Loads a snapshot into the target, range by range',
      bucket,
      functions: {
        PlanRangesArn: planning.planRanges,
        LoadRangeArn: loadRange,
        LoadIndexesArn: loadIndexes,
        SummarizeRunArn: planning.summarizeRun,
      },
      substitutions: { SummarizeRunName: planning.summarizeRun.functionName },
      maxConcurrency: config.bulkLoad.maxConcurrency,
    });
    new Alarms(this, 'Alarms', deployment).above('BulkLoadFailed', machine.stateMachine.metricFailed(), 0, {
      description: 'A bulk load failed. The cause of the execution says what to do; then: ringshift load resume RUN.',
    });
    new CfnOutput(this, 'BulkLoadStateMachineArn', { value: machine.stateMachine.stateMachineArn });
  }
}
