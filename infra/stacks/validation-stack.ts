import { CfnOutput, Duration, Stack, type StackProps } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { Schedule, ScheduleExpression, ScheduleTargetInput } from 'aws-cdk-lib/aws-scheduler';
import { StepFunctionsStartExecution } from 'aws-cdk-lib/aws-scheduler-targets';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import { Alarms } from '../constructs/alarms.ts';
import { jobEnvironment } from '../constructs/job-environment.ts';
import { JobFunction } from '../constructs/job-function.ts';
import { useRuns } from '../constructs/permissions.ts';
import { RangeStateMachine } from '../constructs/range-state-machine.ts';
import type { Deployment } from '../deployment.ts';
import type { PlanningStack } from './planning-stack.ts';

/** Compares both clusters, by schedule or by command, and reconciles them when asked. */
export class ValidationStack extends Stack {
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
    const common = {
      deployment,
      memoryMB: 1769,
      timeout: Duration.minutes(15),
      environment,
      reachesClusters: true,
      bundledFiles: deployment.bundledFiles,
      statements: [...statements, useRuns(bucket)],
    };
    const validateRange = new JobFunction(this, 'ValidateRange', {
      ...common,
      jobName: 'validate-range',
      description: 'Compares one token range of both clusters',
    });
    const reconcileRange = new JobFunction(this, 'ReconcileRange', {
      ...common,
      jobName: 'reconcile-range',
      description: 'Writes the winning cells of one token range to the cluster that lacks them',
    });
    const { stateMachine } = new RangeStateMachine(this, 'Validation', {
      deployment,
      machineName: 'validation',
      comment: 'Compares origin and target, range by range',
      bucket,
      functions: {
        PlanRangesArn: planning.planRanges,
        ValidateRangeArn: validateRange,
        ReconcileRangeArn: reconcileRange,
        SummarizeRunArn: planning.summarizeRun,
      },
      substitutions: { SummarizeRunName: planning.summarizeRun.functionName },
      maxConcurrency: config.validation.maxConcurrency,
    });
    this.#addSchedules(deployment, stateMachine);

    const alarms = new Alarms(this, 'Alarms', deployment);
    alarms.above('ValidationFailed', stateMachine.metricFailed(), 0, {
      description: 'A validation could not compare every range. The cause of the execution says what to do.',
    });
    alarms.above(
      'DifferencesFound',
      new Metric({
        namespace: 'Ringshift',
        metricName: 'Differences',
        dimensionsMap: { Migration: options.name },
        statistic: 'Maximum',
      }),
      0,
      { description: 'A validation found partitions that differ. See: ringshift validate report RUN.' },
    );
    new CfnOutput(this, 'ValidationStateMachineArn', { value: stateMachine.stateMachineArn });
  }

  /** One schedule for each keyspace; there even when disabled, so that switching it on is one click. */
  #addSchedules(deployment: Deployment, stateMachine: StateMachine): void {
    const { schedule } = deployment.config.validation;
    if (schedule.keyspaces.length === 0) return;
    const role = new Role(this, 'ScheduleRole', {
      assumedBy: new ServicePrincipal('scheduler.amazonaws.com'),
      description: 'Starts validations by schedule',
    });
    role.addToPolicy(
      new PolicyStatement({
        sid: 'StartValidation',
        actions: ['states:StartExecution'],
        resources: [stateMachine.stateMachineArn],
      }),
    );
    for (const keyspace of schedule.keyspaces) {
      new Schedule(this, `Schedule-${keyspace}`, {
        scheduleName: `${deployment.options.name}-validate-${keyspace}`
          .replaceAll(/[^A-Za-z0-9_.-]/g, '_')
          .slice(0, 64),
        description: `Validates ${keyspace}`,
        schedule: ScheduleExpression.expression(schedule.rate),
        enabled: schedule.enabled,
        target: new StepFunctionsStartExecution(stateMachine, {
          input: ScheduleTargetInput.fromObject({ keyspace }),
          role: role.withoutPolicyUpdates(),
          retryAttempts: 3,
        }),
      });
    }
  }
}
