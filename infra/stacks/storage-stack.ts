import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { Role, WebIdentityPrincipal } from 'aws-cdk-lib/aws-iam';
import { BlockPublicAccess, Bucket, BucketEncryption, type IBucket, ObjectOwnership } from 'aws-cdk-lib/aws-s3';
import { type IQueue, Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { Alarms } from '../constructs/alarms.ts';
import { Prefix, proxyStatements } from '../constructs/permissions.ts';
import type { Deployment } from '../deployment.ts';

/** The longest that SQS keeps a message. */
const RETENTION = Duration.days(14);

/** Time-out of the replay function; the queue hides a message six times as long, as AWS advises. */
export const REPLAY_TIMEOUT = Duration.minutes(2);

/**
 * How often a failed write may be received before it is a dead letter. The function itself buries what can never be
 * applied and marks its tables, which SQS does not, and while a cluster is away its breaker keeps messages from being
 * received. What counts here is what stays for another reason, such as a part of the ring that is away, and the delays grow
 * to 15 minutes: ten days. SQS takes no more.
 */
const MAX_RECEIVES = 1000;

/** What outlives everything else: the migration's bucket and the queue of failed writes. */
export class StorageStack extends Stack {
  readonly bucket: IBucket;
  readonly failedWrites: IQueue;
  readonly deadLetters: IQueue;

  constructor(scope: Construct, id: string, deployment: Deployment, props: StackProps) {
    super(scope, id, props);
    const { options, config } = deployment;
    const ledgerPrefix = config.ledger.kind === 's3' ? config.ledger.prefix : Prefix.Ledger;
    const bucket = new Bucket(this, 'Bucket', {
      bucketName: options.bucketName,
      encryption: BucketEncryption.S3_MANAGED,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      versioned: true,
      removalPolicy: RemovalPolicy.RETAIN,
      lifecycleRules: [
        { id: 'abandoned-uploads', abortIncompleteMultipartUploadAfter: Duration.days(7) },
        // Ledger records change often; their history is for accidents only.
        { id: 'old-versions', noncurrentVersionExpiration: Duration.days(14), expiredObjectDeleteMarker: true },
        // Heartbeats: each proxy makes 17,000 versions of its record in a day.
        { id: 'old-heartbeats', prefix: `${ledgerPrefix}proxies/`, noncurrentVersionExpiration: Duration.days(1) },
        // Longer than both queues together keep a pointer to such an object.
        { id: 'overflow', prefix: Prefix.Overflow, expiration: Duration.days(2 * RETENTION.toDays() + 2) },
      ],
    });
    const deadLetters = new Queue(this, 'DeadLetters', {
      queueName: `${options.name}-failed-writes-dead`,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: RETENTION,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    const failedWrites = new Queue(this, 'FailedWrites', {
      queueName: `${options.name}-failed-writes`,
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: RETENTION,
      visibilityTimeout: Duration.seconds(6 * REPLAY_TIMEOUT.toSeconds()),
      receiveMessageWaitTime: Duration.seconds(20),
      removalPolicy: RemovalPolicy.RETAIN,
      deadLetterQueue: {
        queue: deadLetters,
        maxReceiveCount: MAX_RECEIVES,
      },
    });
    this.bucket = bucket;
    this.failedWrites = failedWrites;
    this.deadLetters = deadLetters;

    const alarms = new Alarms(this, 'Alarms', deployment);
    alarms.above('DeadLetters', deadLetters.metricApproximateNumberOfMessagesVisible({ statistic: 'Maximum' }), 0, {
      description:
        'Failed writes could not be replayed. Read why: ringshift replay status. Mend it, then: ringshift replay redrive --reset-attempts.',
    });
    alarms.above('OldestFailedWrite', failedWrites.metricApproximateAgeOfOldestMessage({ statistic: 'Maximum' }), 900, {
      description: 'A failed write waits for more than 15 minutes: the target lags. Is it up, and does it take writes?',
      periods: 3,
    });

    new CfnOutput(this, 'BucketName', { value: bucket.bucketName, description: 'ledger.bucket of migration.yaml' });
    new CfnOutput(this, 'FailedWritesQueueUrl', {
      value: failedWrites.queueUrl,
      description: 'failedWrites.queueUrl of migration.yaml',
    });
    new CfnOutput(this, 'DeadLetterQueueUrl', { value: deadLetters.queueUrl });
    this.#addProxyRole(deployment, ledgerPrefix);
  }

  /** For a proxy on GCP: it shows Google's identity token and gets these few rights for an hour, without a key. */
  #addProxyRole({ config }: Deployment, ledgerPrefix: string): void {
    const identity = config.deploy.aws.proxyIdentity;
    if (identity === null) return;
    const { subject, audience } = identity;
    const role = new Role(this, 'ProxyRole', {
      description: 'The proxy beside the application, by its Google service account',
      // The token of a service account has its id as authorized party (azp). Where a token has one, AWS calls that `aud`
      // and the audience itself `oaud`.
      assumedBy: new WebIdentityPrincipal('accounts.google.com', {
        StringEquals: {
          'accounts.google.com:sub': subject,
          'accounts.google.com:aud': subject,
          'accounts.google.com:oaud': audience,
        },
      }),
    });
    for (const statement of proxyStatements(this.bucket, this, ledgerPrefix)) role.addToPolicy(statement);
    new CfnOutput(this, 'ProxyRoleArn', { value: role.roleArn, description: 'RINGSHIFT_AWS_ROLE_ARN of the proxy' });
  }
}
