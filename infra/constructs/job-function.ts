import { join } from 'node:path';
import { ArnFormat, type Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Effect, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, type CfnFunction, type IFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogLevel, NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { BundledFile, Deployment } from '../deployment.ts';

const projectRoot = join(import.meta.dirname, '..', '..');

// cassandra-driver and others are CommonJS and call require(), which an ES module has only when it makes one itself.
const REQUIRE_BANNER =
  "import { createRequire as ringshiftCreateRequire } from 'node:module'; const require = ringshiftCreateRequire(import.meta.url);";

export interface JobFunctionProps {
  readonly deployment: Deployment;
  /** File below `functions/`, without `.ts`; the function is called PREFIX-NAME. */
  readonly jobName: string;
  readonly description: string;
  readonly memoryMB: number;
  readonly timeout: Duration;
  readonly environment: Readonly<Record<string, string>>;
  /** Everything that it may do besides writing its own log. */
  readonly statements: readonly PolicyStatement[];
  /** Whether it speaks to a cluster and therefore goes into the VPC, where one is configured. */
  readonly reachesClusters: boolean;
  readonly bundledFiles?: readonly BundledFile[];
}

/** One Lambda function of this product: bundled, logged, in the VPC if there is one, and allowed only what is listed. */
export class JobFunction extends Construct {
  readonly function: IFunction;
  readonly functionName: string;
  readonly timeout: Duration;

  constructor(scope: Construct, id: string, props: JobFunctionProps) {
    super(scope, id);
    const stack = Stack.of(this);
    this.functionName = `${props.deployment.options.name}-${props.jobName}`;
    this.timeout = props.timeout;
    const logGroup = new LogGroup(this, 'Log', {
      logGroupName: `/aws/lambda/${this.functionName}`,
      retention: RetentionDays.ONE_MONTH,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: `What ${this.functionName} may do`,
    });
    role.addToPolicy(
      new PolicyStatement({
        sid: 'WriteOwnLog',
        actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: [
          stack.formatArn({
            service: 'logs',
            resource: 'log-group',
            resourceName: `/aws/lambda/${this.functionName}:*`,
            arnFormat: ArnFormat.COLON_RESOURCE_NAME,
          }),
        ],
      }),
    );
    for (const statement of props.statements) role.addToPolicy(statement);
    const { vpcId, subnetIds, securityGroupIds } = props.deployment.config.deploy.aws;
    const isInVpc = props.reachesClusters && vpcId !== null;
    if (isInVpc) role.addToPolicy(networkInterfaceStatement());

    const files = props.bundledFiles ?? [];
    const job = new NodejsFunction(this, 'Function', {
      functionName: this.functionName,
      description: props.description,
      entry: join(projectRoot, 'functions', `${props.jobName}.ts`),
      projectRoot,
      depsLockFilePath: join(projectRoot, 'package-lock.json'),
      runtime: Runtime.NODEJS_24_X,
      // Nothing native is bundled, so the bundle fits every machine, whatever CPU built it.
      architecture: Architecture.ARM_64,
      memorySize: props.memoryMB,
      timeout: props.timeout,
      role,
      logGroup,
      environment: { NODE_OPTIONS: '--enable-source-maps', ...props.environment },
      bundling: {
        format: OutputFormat.ESM,
        target: 'node24',
        mainFields: ['module', 'main'],
        banner: REQUIRE_BANNER,
        // The SDK too: what was tested is what runs.
        externalModules: [],
        sourceMap: true,
        sourcesContent: false,
        logLevel: LogLevel.ERROR,
        minify: true,
        // Names of errors are literals, but stack traces and middleware read function names.
        keepNames: true,
        commandHooks: {
          beforeBundling: () => [],
          beforeInstall: () => [],
          afterBundling: (_input, output) => files.map((file) => `cp "${file.path}" "${join(output, file.name)}"`),
        },
      },
    });
    if (isInVpc) {
      // By ids and without a look-up, which the L2 construct does not offer. Inside the VPC there is no internet: S3 needs
      // a gateway endpoint, SQS and Secrets Manager need interface endpoints (infra/README.md).
      (job.node.defaultChild as CfnFunction).vpcConfig = { subnetIds, securityGroupIds };
      job.node.addDependency(role);
    }
    this.function = job;
  }
}

/** EC2 has no resource-level permission for what Lambda does to put a function into a VPC. */
function networkInterfaceStatement(): PolicyStatement {
  return new PolicyStatement({
    sid: 'JoinVpc',
    effect: Effect.ALLOW,
    actions: [
      'ec2:CreateNetworkInterface',
      'ec2:DescribeNetworkInterfaces',
      'ec2:DescribeSubnets',
      'ec2:DeleteNetworkInterface',
      'ec2:AssignPrivateIpAddresses',
      'ec2:UnassignPrivateIpAddresses',
    ],
    resources: ['*'],
  });
}
