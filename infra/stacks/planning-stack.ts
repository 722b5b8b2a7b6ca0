import { Duration, Stack, type StackProps } from 'aws-cdk-lib';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import { jobEnvironment, planningEnvironment } from '../constructs/job-environment.ts';
import { JobFunction } from '../constructs/job-function.ts';
import { readSnapshots, useRuns } from '../constructs/permissions.ts';
import type { Deployment } from '../deployment.ts';

/** The two functions that every kind of run starts and ends with. */
export class PlanningStack extends Stack {
  readonly planRanges: JobFunction;
  readonly summarizeRun: JobFunction;

  constructor(scope: Construct, id: string, deployment: Deployment, bucket: IBucket, props: StackProps) {
    super(scope, id, props);
    const common = jobEnvironment(this, deployment, bucket);
    const { environment, statements } = common;
    const planning = planningEnvironment(this, deployment, common);
    this.planRanges = new JobFunction(this, 'PlanRanges', {
      deployment,
      jobName: 'plan-ranges',
      description: 'Cuts the ring into token ranges and writes the plan of a run to S3',
      memoryMB: 1769,
      timeout: Duration.minutes(15),
      environment: planning.environment,
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [
        ...planning.statements,
        useRuns(bucket),
        ...readSnapshots(bucket, deployment.options.snapshotBuckets),
      ],
    });
    this.summarizeRun = new JobFunction(this, 'SummarizeRun', {
      deployment,
      jobName: 'summarize-run',
      description: 'Adds up the results of a run, writes its summary to S3 and marks the tables in the ledger',
      memoryMB: 1024,
      timeout: Duration.minutes(15),
      environment,
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [...statements, useRuns(bucket)],
    });
  }
}
