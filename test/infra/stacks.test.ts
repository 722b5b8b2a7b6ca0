import { Match } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { ConfigError } from '#core/errors.ts';
import { CONFIG, synthesize } from './support.ts';

const TOPIC = 'arn:aws:sns:eu-west-1:123456789012:on-call';
const { templates, all } = synthesize();
/** Everything that may be configured, configured otherwise. */
const { templates: other } = synthesize(
  `${CONFIG.replace('enabled: true', 'enabled: false')}deploy:
  aws:
    vpcId: vpc-0a1b2c3d
    subnetIds: [subnet-0a1b2c3d, subnet-1a1b2c3d]
    securityGroupIds: [sg-0a1b2c3d]
    alarmTopicArn: "${TOPIC}"
`,
  { name: 'second', bucketName: 'second-bucket' },
);

interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action: string | string[];
  readonly Resource: unknown;
}

function statementsOf(): Statement[] {
  return all.flatMap((template) =>
    Object.values(template.findResources('AWS::IAM::Policy')).flatMap(
      (policy) => policy['Properties'].PolicyDocument.Statement as Statement[],
    ),
  );
}

test('no statement allows an action by wildcard', () => {
  const actions = statementsOf().flatMap((statement) => statement.Action);
  expect(actions.length).toBeGreaterThan(30);
  expect(actions.filter((action) => action.includes('*'))).toEqual([]);
});

test('no statement is for every resource, except where AWS has nothing narrower', () => {
  const unavoidable = ['DeliverLogs'];
  const wide = statementsOf().filter((statement) => [statement.Resource].flat().includes('*'));
  expect(wide.map((statement) => statement.Sid).filter((sid) => !unavoidable.includes(sid ?? ''))).toEqual([]);
});

test('no role has a managed policy, so every permission stands in these sources', () => {
  for (const template of all) {
    for (const role of Object.values(template.findResources('AWS::IAM::Role'))) {
      expect(role['Properties'].ManagedPolicyArns).toBeUndefined();
    }
  }
});

test('functions may use the ledger under the configured prefix', () => {
  templates.planning.hasResourceProperties('AWS::IAM::Policy', {
    PolicyDocument: {
      Statement: Match.arrayWith([
        Match.objectLike({
          Sid: 'UseLedger',
          Resource: { 'Fn::Join': ['', Match.arrayWith(['/my-ledger/*'])] },
        }),
      ]),
    },
  });
});

test('functions may read exactly the secrets that the configuration names', () => {
  const read = statementsOf().filter((statement) => statement.Sid === 'ReadCredentials');
  expect(read.length).toBe(8);
  for (const statement of read) {
    expect(JSON.stringify(statement.Resource)).toContain('secret:production/iconik/origin-??????');
    expect(JSON.stringify(statement.Resource)).toContain('secret:target-??????');
  }
});

test('the function that drops and restores indexes may use the ledger and read the credentials, and nothing else', () => {
  const policies = Object.entries(templates.bulkLoad.findResources('AWS::IAM::Policy'));
  const [, own] = policies.find(([id]) => id.startsWith('LoadIndexes')) ?? [];
  const statements = own?.['Properties'].PolicyDocument.Statement as Statement[];
  expect(statements.map(({ Sid }) => Sid)).toEqual(['WriteOwnLog', 'UseLedger', 'ListBucket', 'ReadCredentials']);
});

test('a list of indexes is an asset that the planning function may read', () => {
  const { templates: withList } = synthesize(`${CONFIG}bulkLoad: { indexList: config/indexes.yaml }\n`);
  withList.planning.hasResourceProperties('AWS::Lambda::Function', {
    FunctionName: 'ringshift-plan-ranges',
    Environment: { Variables: Match.objectLike({ RINGSHIFT_INDEX_LIST: Match.anyValue() }) },
  });
  withList.planning.hasResourceProperties('AWS::IAM::Policy', {
    PolicyDocument: {
      Statement: Match.arrayWith([Match.objectLike({ Sid: 'ReadIndexList', Action: 's3:GetObject' })]),
    },
  });
  // Nobody else needs it, so nobody else fails by it.
  for (const template of Object.values(withList)) {
    const readers = Object.entries(template.findResources('AWS::IAM::Policy')).filter(([, policy]) =>
      (policy['Properties'].PolicyDocument.Statement as Statement[]).some(({ Sid }) => Sid === 'ReadIndexList'),
    );
    expect(readers.filter(([id]) => !id.startsWith('PlanRanges'))).toEqual([]);
  }
  // A fault of the list is one of the deployment; this file holds none.
  expect(() => synthesize(`${CONFIG}bulkLoad: { indexList: config/filter-rules.yaml }\n`)).toThrow(ConfigError);
  expect(() => synthesize(`${CONFIG}bulkLoad: { indexList: no/such.yaml }\n`)).toThrow(/bulkLoad\.indexList.*no\/such/);
});

test('a proxy on GCP gets a role for its one service account and audience, and little may be done with it', () => {
  const { templates: withProxy } = synthesize(
    `${CONFIG}deploy: { aws: { proxyIdentity: { subject: "100018646976219416293", audience: "ringshift:production" } } }\n`,
  );
  const storage = withProxy.storage;
  storage.resourceCountIs('AWS::IAM::Role', 1);
  storage.hasResourceProperties('AWS::IAM::Role', {
    ManagedPolicyArns: Match.absent(),
    AssumeRolePolicyDocument: {
      Statement: [
        {
          Effect: 'Allow',
          Action: 'sts:AssumeRoleWithWebIdentity',
          Principal: { Federated: 'accounts.google.com' },
          Condition: {
            StringEquals: {
              'accounts.google.com:sub': '100018646976219416293',
              'accounts.google.com:aud': '100018646976219416293',
              'accounts.google.com:oaud': 'ringshift:production',
            },
          },
        },
      ],
    },
  });
  const policies = Object.values(storage.findResources('AWS::IAM::Policy'));
  const statements = policies.flatMap((policy) => policy['Properties'].PolicyDocument.Statement as Statement[]);
  const allowed = statements.map(({ Sid, Action, Resource }) => [Sid, [Action].flat().sort(), suffixOf(Resource)]);
  expect(allowed).toEqual([
    ['SendFailedWrites', ['sqs:SendMessage'], 'FailedWrites'],
    ['CountFailedWrites', ['sqs:GetQueueAttributes', 'sqs:GetQueueUrl'], 'DeadLetters,FailedWrites'],
    ['PutOverflow', ['s3:PutObject'], '/failed-writes/overflow/*'],
    ['UseLedger', ['s3:DeleteObject', 's3:GetObject', 's3:PutObject'], '/my-ledger/*'],
    ['ListLedger', ['s3:ListBucket'], 'Bucket'],
  ]);
  expect(statements.at(-1)).toMatchObject({ Condition: { StringLikeIfExists: { 's3:prefix': 'my-ledger/*' } } });
  storage.hasOutput('ProxyRoleArn', {});
  templates.storage.resourceCountIs('AWS::IAM::Role', 0);
});

/** The end of an ARN that is joined to an attribute, or the logical id whose ARN it is, without its hash. */
function suffixOf(resource: unknown): string {
  if (Array.isArray(resource)) return resource.map(suffixOf).join();
  const { 'Fn::Join': join, 'Fn::GetAtt': attribute } = resource as {
    'Fn::Join'?: [string, unknown[]];
    'Fn::GetAtt'?: [string, string];
  };
  return join ? String(join[1].at(-1)) : String(attribute?.[0]).replace(/[0-9A-F]{8}$/, '');
}

test('the state machines may read the plan that their map starts from', () => {
  for (const template of [templates.bulkLoad, templates.validation]) {
    template.hasResourceProperties('AWS::IAM::Policy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Sid: 'ReadPlanAndWriteResults',
            Action: Match.arrayWith(['s3:GetObject', 's3:PutObject']),
          }),
        ]),
      },
    });
  }
});

test('the bucket is private, encrypted, versioned, kept, and speaks TLS only', () => {
  templates.storage.hasResource('AWS::S3::Bucket', {
    DeletionPolicy: 'Retain',
    Properties: Match.objectLike({
      VersioningConfiguration: { Status: 'Enabled' },
      BucketEncryption: Match.anyValue(),
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
    }),
  });
  templates.storage.hasResourceProperties('AWS::S3::BucketPolicy', {
    PolicyDocument: {
      Statement: Match.arrayWith([
        Match.objectLike({ Effect: 'Deny', Condition: { Bool: { 'aws:SecureTransport': 'false' } } }),
      ]),
    },
  });
});

test('both queues are encrypted and keep messages as long as SQS allows; dead letters have a place', () => {
  templates.storage.resourcePropertiesCountIs(
    'AWS::SQS::Queue',
    { SqsManagedSseEnabled: true, MessageRetentionPeriod: 14 * 86_400 },
    2,
  );
  templates.storage.hasResourceProperties('AWS::SQS::Queue', {
    QueueName: 'ringshift-failed-writes',
    RedrivePolicy: { deadLetterTargetArn: Match.anyValue(), maxReceiveCount: 1000 },
  });
  templates.storage.resourcePropertiesCountIs(
    'AWS::SQS::QueuePolicy',
    { PolicyDocument: { Statement: Match.arrayWith([Match.objectLike({ Effect: 'Deny' })]) } },
    2,
  );
});

test('an overflow object outlives every message that can point to it', () => {
  const bucket = Object.values(templates.storage.findResources('AWS::S3::Bucket'))[0];
  const rules = bucket?.['Properties'].LifecycleConfiguration.Rules as { Id: string; ExpirationInDays?: number }[];
  expect(rules.find((rule) => rule.Id === 'overflow')?.ExpirationInDays).toBeGreaterThan(28);
});

test('a message stays hidden for six times as long as the replay function may run', () => {
  const replay = Object.values(templates.replay.findResources('AWS::Lambda::Function'))[0];
  templates.storage.hasResourceProperties('AWS::SQS::Queue', {
    QueueName: 'ringshift-failed-writes',
    VisibilityTimeout: 6 * Number(replay?.['Properties'].Timeout),
  });
});

/** What each function of the replay may do: by the name of its job, the actions with what they are for. */
function rightsOfReplay(): Record<string, [string | undefined, string[], string][]> {
  const policies = Object.entries(templates.replay.findResources('AWS::IAM::Policy'));
  return Object.fromEntries(
    policies.map(([id, policy]) => [
      id.replace(/Role.*$/, ''),
      (policy['Properties'].PolicyDocument.Statement as Statement[]).map(({ Sid, Action, Resource }) => [
        Sid,
        [Action].flat().sort(),
        suffixOf(Resource).replace(/^.*(FailedWrites|DeadLetters|Bucket)[0-9A-F]{8}Arn[0-9A-F]+$/, '$1'),
      ]),
    ]),
  );
}

test('the two functions of the replay may do the same with the queues, and only the breaker may switch the mapping', () => {
  const rights = rightsOfReplay();
  expect(Object.keys(rights).sort()).toEqual(['Breaker', 'Replay']);
  const common = [
    ['UseLedger', ['s3:DeleteObject', 's3:GetObject', 's3:PutObject']],
    ['ListBucket', ['s3:ListBucket']],
    ['ReadCredentials', ['secretsmanager:GetSecretValue']],
    ['UseOverflow', ['s3:GetObject', 's3:PutObject']],
    [
      'ConsumeFailedWrites',
      ['sqs:ChangeMessageVisibility', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes', 'sqs:ReceiveMessage'],
    ],
    ['SendAgain', ['sqs:SendMessage']],
    ['BuryFailedWrites', ['sqs:SendMessage']],
  ];
  const without = (which: string, ...sids: string[]) =>
    rights[which]!.filter(([sid]) => !sids.includes(sid ?? '')).map(([sid, actions]) => [sid, actions]);
  expect(without('Replay', 'WriteOwnLog', 'ReadFilterRules')).toEqual(common);
  expect(without('Breaker', 'WriteOwnLog', 'ReadFilterRules', 'SwitchReplay')).toEqual(common);
  const switches = rights['Breaker']!.filter(([sid]) => sid === 'SwitchReplay');
  expect(switches.map(([, actions]) => actions)).toEqual([
    ['lambda:GetEventSourceMapping', 'lambda:UpdateEventSourceMapping'],
  ]);
});

test('the breaker may switch this one mapping and no other', () => {
  const [statement] = statementsOf().filter(({ Sid }) => Sid === 'SwitchReplay');
  const [mapping] = Object.keys(templates.replay.findResources('AWS::Lambda::EventSourceMapping'));
  const { 'Fn::Join': join } = statement!.Resource as { 'Fn::Join': [string, unknown[]] };
  expect(join[1].at(-1)).toEqual({ Ref: mapping });
  expect(JSON.stringify(join[1])).toContain(':event-source-mapping:');
});

test('a deployment leaves a mapping that the breaker has switched off as it is', () => {
  const [mapping] = Object.values(templates.replay.findResources('AWS::Lambda::EventSourceMapping'));
  expect(mapping!['Properties'].Enabled).toBeUndefined();
});

test('the breaker looks every probeSecs, in whole minutes, and knows the mapping', () => {
  templates.replay.hasResourceProperties('AWS::Events::Rule', {
    ScheduleExpression: 'rate(1 minute)',
    State: 'ENABLED',
  });
  const { templates: slow } = synthesize(`${CONFIG}failedWrites: { probeSecs: 90 }\n`);
  slow.replay.hasResourceProperties('AWS::Events::Rule', { ScheduleExpression: 'rate(2 minutes)' });
  templates.replay.hasResourceProperties('AWS::Lambda::Function', {
    FunctionName: 'ringshift-replay-breaker',
    Environment: { Variables: Match.objectLike({ RINGSHIFT_EVENT_SOURCE_ID: Match.anyValue() }) },
  });
});

test('batches are as large and as many as the configuration says; beyond ten a window is needed', () => {
  const mappingOf = (settings: string) => {
    const { replay } = synthesize(`${CONFIG}failedWrites: ${settings}\n`).templates;
    return Object.values(replay.findResources('AWS::Lambda::EventSourceMapping'))[0]!['Properties'];
  };
  expect(mappingOf('{}')).toMatchObject({
    FunctionResponseTypes: ['ReportBatchItemFailures'],
    BatchSize: 100,
    MaximumBatchingWindowInSeconds: 1,
    ScalingConfig: { MaximumConcurrency: 4 },
  });
  expect(mappingOf('{ batchSize: 10, batchWindowSecs: 0, replayConcurrency: 9 }')).toMatchObject({
    BatchSize: 10,
    MaximumBatchingWindowInSeconds: 0,
    ScalingConfig: { MaximumConcurrency: 9 },
  });
  expect(mappingOf('{ batchSize: 11, batchWindowSecs: 0 }')).toMatchObject({ MaximumBatchingWindowInSeconds: 1 });
});

test('dead letters, waiting messages, failed executions and differences ring an alarm that says what to do', () => {
  const alarms = all.flatMap((template) => Object.values(template.findResources('AWS::CloudWatch::Alarm')));
  const names = alarms.map((alarm) => alarm['Properties'].AlarmName).sort();
  expect(names).toEqual([
    'ringshift-bulk-load-failed',
    'ringshift-dead-letters',
    'ringshift-differences-found',
    'ringshift-oldest-failed-write',
    'ringshift-replay-breaker-errors',
    'ringshift-replay-errors',
    'ringshift-replay-held',
    'ringshift-validation-failed',
    'ringshift-vanished-instances',
  ]);
  for (const alarm of alarms) expect(alarm['Properties'].AlarmDescription.length).toBeGreaterThan(40);
});

test('each keyspace of the schedule starts a validation of it', () => {
  templates.validation.resourcePropertiesCountIs('AWS::Scheduler::Schedule', { State: 'ENABLED' }, 2);
  templates.validation.hasResourceProperties('AWS::Scheduler::Schedule', {
    ScheduleExpression: 'rate(6 hours)',
    Target: { Input: '{"keyspace":"ks2"}' },
  });
});

test('a schedule that is not enabled exists and rests', () => {
  other.validation.resourcePropertiesCountIs('AWS::Scheduler::Schedule', { State: 'DISABLED' }, 2);
});

test('functions run on Node 24 with their own log group that forgets', () => {
  const functions = all.flatMap((template) => Object.values(template.findResources('AWS::Lambda::Function')));
  expect(functions.map((found) => found['Properties'].FunctionName).sort()).toEqual([
    'ringshift-load-indexes',
    'ringshift-load-range',
    'ringshift-plan-ranges',
    'ringshift-reconcile-range',
    'ringshift-replay-breaker',
    'ringshift-replay-failed-writes',
    'ringshift-summarize-run',
    'ringshift-validate-range',
  ]);
  for (const found of functions) {
    expect(found['Properties'].Runtime).toBe('nodejs24.x');
    expect(found['Properties'].LoggingConfig.LogGroup).toBeDefined();
  }
  for (const template of all) {
    for (const group of Object.values(template.findResources('AWS::Logs::LogGroup'))) {
      expect(group['Properties'].RetentionInDays).toBe(30);
    }
  }
});

test('without a VPC the functions have none, with one they have its subnets and may join it', () => {
  const found = templates.bulkLoad.findResources('AWS::Lambda::Function');
  expect(Object.values(found)[0]?.['Properties'].VpcConfig).toBeUndefined();
  other.bulkLoad.hasResourceProperties('AWS::Lambda::Function', {
    VpcConfig: { SubnetIds: ['subnet-0a1b2c3d', 'subnet-1a1b2c3d'], SecurityGroupIds: ['sg-0a1b2c3d'] },
  });
  other.bulkLoad.hasResourceProperties('AWS::IAM::Policy', {
    PolicyDocument: { Statement: Match.arrayWith([Match.objectLike({ Sid: 'JoinVpc' })]) },
  });
});

test('a topic of the configuration gets every alarm', () => {
  other.storage.allResourcesProperties('AWS::CloudWatch::Alarm', { AlarmActions: [TOPIC] });
});

test('another name makes another set of physical names', () => {
  other.storage.hasResourceProperties('AWS::SQS::Queue', { QueueName: 'second-failed-writes' });
  other.storage.hasResourceProperties('AWS::S3::Bucket', { BucketName: 'second-bucket' });
  other.bulkLoad.hasResourceProperties('AWS::StepFunctions::StateMachine', { StateMachineName: 'second-bulk-load' });
});

test('what scripts and configuration need is an output', () => {
  for (const name of ['BucketName', 'FailedWritesQueueUrl', 'DeadLetterQueueUrl'])
    templates.storage.hasOutput(name, {});
  templates.bulkLoad.hasOutput('BulkLoadStateMachineArn', {});
  templates.validation.hasOutput('ValidationStateMachineArn', {});
});

test('old heartbeats of proxies do not stay in the bucket', () => {
  templates.storage.hasResourceProperties('AWS::S3::Bucket', {
    LifecycleConfiguration: {
      Rules: Match.arrayWith([
        Match.objectLike({
          Id: 'old-heartbeats',
          Prefix: 'my-ledger/proxies/',
          NoncurrentVersionExpiration: { NoncurrentDays: 1 },
        }),
      ]),
    },
  });
});
