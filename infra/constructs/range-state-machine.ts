import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Annotations, ArnFormat, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import { DefinitionBody, LogLevel, StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import type { Deployment } from '../deployment.ts';
import type { JobFunction } from './job-function.ts';
import { Prefix } from './permissions.ts';

const definitions = join(import.meta.dirname, '..', '..', 'state-machines');

export interface RangeStateMachineProps {
  readonly deployment: Deployment;
  /** File below `state-machines/`, without `.asl.json`; the state machine is called PREFIX-NAME. */
  readonly machineName: string;
  readonly comment: string;
  readonly bucket: IBucket;
  /** By the name of the substitution that stands for the function's ARN. */
  readonly functions: Readonly<Record<string, JobFunction>>;
  readonly substitutions: Readonly<Record<string, string>>;
  /** Used instead of the plan's number with `mapConcurrency: config`. */
  readonly maxConcurrency: number;
}

/** A state machine from a plain ASL file, with the permissions that its Distributed Maps need. */
export class RangeStateMachine extends Construct {
  readonly stateMachine: StateMachine;

  constructor(scope: Construct, id: string, props: RangeStateMachineProps) {
    super(scope, id);
    const { options } = props.deployment;
    const stack = Stack.of(this);
    const stateMachineName = `${options.name}-${props.machineName}`;
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('states.amazonaws.com'),
      description: `What ${stateMachineName} may do`,
    });
    const arn = (resource: string, resourceName: string) =>
      stack.formatArn({ service: 'states', resource, resourceName, arnFormat: ArnFormat.COLON_RESOURCE_NAME });
    const functionArns = Object.values(props.functions).map((job) => job.function.functionArn);
    role.addToPolicy(
      new PolicyStatement({ sid: 'InvokeJobs', actions: ['lambda:InvokeFunction'], resources: functionArns }),
    );
    role.addToPolicy(
      // By name, not by reference: the state machine can't be created before its role.
      new PolicyStatement({
        sid: 'RunChildExecutions',
        actions: ['states:StartExecution'],
        resources: [arn('stateMachine', stateMachineName)],
      }),
    );
    role.addToPolicy(
      new PolicyStatement({
        sid: 'FollowChildExecutions',
        actions: ['states:DescribeExecution', 'states:StopExecution', 'states:RedriveExecution'],
        resources: [arn('execution', `${stateMachineName}/*`)],
      }),
    );
    role.addToPolicy(
      new PolicyStatement({
        sid: 'ReadPlanAndWriteResults',
        actions: ['s3:GetObject', 's3:PutObject', 's3:ListMultipartUploadParts', 's3:AbortMultipartUpload'],
        resources: [props.bucket.arnForObjects(`${Prefix.Runs}*`)],
      }),
    );
    const substitutions: Record<string, string> = { Partition: stack.partition, ...props.substitutions };
    for (const [name, job] of Object.entries(props.functions)) substitutions[name] = job.function.functionArn;
    this.stateMachine = new StateMachine(this, 'StateMachine', {
      stateMachineName,
      comment: props.comment,
      definitionBody: DefinitionBody.fromString(
        readDefinition(props.machineName, options.mapConcurrency === 'config' ? props.maxConcurrency : undefined),
      ),
      definitionSubstitutions: substitutions,
      role: role.withoutPolicyUpdates(),
      // A load of many terabytes takes days; this bounds only what hangs.
      timeout: Duration.days(30),
      logs: {
        destination: new LogGroup(this, 'Log', {
          logGroupName: `/aws/vendedlogs/states/${stateMachineName}`,
          retention: RetentionDays.ONE_MONTH,
          removalPolicy: RemovalPolicy.DESTROY,
        }),
        level: LogLevel.ERROR,
        // Inputs and results hold names of keyspaces and keys in S3, never rows.
        includeExecutionData: true,
      },
    });
    // Log delivery of Step Functions has no resource-level permissions; this is AWS's own list.
    role.addToPolicy(
      new PolicyStatement({
        sid: 'DeliverLogs',
        actions: [
          'logs:CreateLogDelivery',
          'logs:GetLogDelivery',
          'logs:UpdateLogDelivery',
          'logs:DeleteLogDelivery',
          'logs:ListLogDeliveries',
          'logs:PutResourcePolicy',
          'logs:DescribeResourcePolicies',
          'logs:DescribeLogGroups',
        ],
        resources: ['*'],
      }),
    );
    this.stateMachine.node.addDependency(role);
    if (functionArns.length === 0) Annotations.of(this).addError('a state machine without functions does nothing');
  }
}

/** The ASL text; with a fixed number in place of the plan's when `maxConcurrency` is given. */
export function readDefinition(machineName: string, maxConcurrency?: number): string {
  const text = readFileSync(join(definitions, `${machineName}.asl.json`), 'utf8');
  if (maxConcurrency === undefined) return text;
  const definition = JSON.parse(text) as { States: Record<string, Record<string, unknown>> };
  for (const state of Object.values(definition.States)) {
    if (!('MaxConcurrencyPath' in state)) continue;
    delete state['MaxConcurrencyPath'];
    state['MaxConcurrency'] = maxConcurrency;
  }
  return JSON.stringify(definition);
}
