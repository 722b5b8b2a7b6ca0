/**
 * The one place where AWS SDK clients are made. Region, credentials and endpoints come from the environment alone
 * (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, …), so that the same code runs on AWS and against a local AWS.
 * With `RINGSHIFT_AWS_ROLE_ARN` and `RINGSHIFT_GOOGLE_AUDIENCE` the credentials come from this machine's Google identity.
 */

import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { S3Client } from '@aws-sdk/client-s3';
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { SFNClient } from '@aws-sdk/client-sfn';
import { SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { MiddlewareStack } from '@smithy/types';
import { ConfigError } from '#core/errors.ts';
import { type CredentialsProvider, createGoogleIdentityProvider } from './google-identity.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

const CONNECT_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 30_000;

/** Attempts of one call in all, time-outs included; the SDK backs off between them. */
const MAX_ATTEMPTS = 5;

/** Sockets to one host; a task reads several SSTables at once, each with read-ahead. */
const MAX_SOCKETS = 64;

const ROLE_VARIABLE = 'RINGSHIFT_AWS_ROLE_ARN';
const AUDIENCE_VARIABLE = 'RINGSHIFT_GOOGLE_AUDIENCE';

/** One provider for all clients of a role, so that they share its credentials. */
const providers = new Map<string, CredentialsProvider>();

/** undefined: the SDK looks for credentials where it always does. @throws ConfigError when one of the two is missing */
function googleCredentials(env: Environment): CredentialsProvider | undefined {
  const roleArn = env[ROLE_VARIABLE] || undefined;
  const audience = env[AUDIENCE_VARIABLE] || undefined;
  if (roleArn === undefined && audience === undefined) return undefined;
  if (roleArn === undefined || audience === undefined) {
    const [missing, given] =
      roleArn === undefined ? [ROLE_VARIABLE, AUDIENCE_VARIABLE] : [AUDIENCE_VARIABLE, ROLE_VARIABLE];
    throw new ConfigError('the environment', [{ path: missing, message: `must be set where ${given} is` }]);
  }
  const metadataHost = env['GCE_METADATA_HOST'] || undefined;
  const key = JSON.stringify([roleArn, audience, metadataHost]);
  const known = providers.get(key) ?? createGoogleIdentityProvider({ roleArn, audience, metadataHost });
  providers.set(key, known);
  return known;
}

/** What all clients have in common. */
export function commonOptions(env: Environment = process.env) {
  const credentials = googleCredentials(env);
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  return {
    maxAttempts: MAX_ATTEMPTS,
    ...(credentials ? { credentials } : {}),
    requestHandler: new NodeHttpHandler({
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent(agent),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      throwOnRequestTimeout: true,
    }),
  };
}

const REMEDIES: readonly { readonly fits: (error: Error & { code?: unknown }) => boolean; readonly remedy: string }[] =
  [
    { fits: ({ message }) => /^Region (is missing|not accepted)/.test(message), remedy: 'set AWS_REGION' },
    {
      fits: ({ name }) => name === 'CredentialsProviderError',
      remedy: 'log in, or set AWS_PROFILE, or give this machine a role',
    },
    {
      fits: ({ code }) =>
        ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(String(code)),
      remedy: 'check the network, AWS_REGION and, where it is set, AWS_ENDPOINT_URL',
    },
  ];

/** Adds what to do to the text of an error that is about this machine and not about the request. */
function addRemedy(error: unknown): void {
  if (!(error instanceof Error)) return;
  const remedy = REMEDIES.find(({ fits }) => fits(error))?.remedy;
  if (remedy !== undefined)
    error.message = `AWS: ${error.message || String((error as { code?: unknown }).code)}; ${remedy}`;
}

interface WithMiddlewares<Input extends object, Output extends object> {
  readonly middlewareStack: Pick<MiddlewareStack<Input, Output>, 'add'>;
}

/** The outermost step of each call, after the SDK's own attempts. */
export function withRemedies<Input extends object, Output extends object, C extends WithMiddlewares<Input, Output>>(
  client: C & WithMiddlewares<Input, Output>,
): C {
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        addRemedy(error);
        throw error;
      }
    },
    { step: 'initialize', priority: 'high', name: 'ringshiftRemedies' },
  );
  return client;
}

/** A client for S3. An endpoint of one's own is addressed with the bucket in the path, as its host has no sub-domains. */
export function createS3Client(env: Environment = process.env): S3Client {
  const ownEndpoint = env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'];
  return withRemedies(
    new S3Client({
      ...commonOptions(env),
      forcePathStyle: ownEndpoint !== undefined && ownEndpoint !== '',
      // What is read has checksums of its own (SSTable chunks); hashing the stream again costs about 7 % of the CPU.
      responseChecksumValidation: 'WHEN_REQUIRED',
    }),
  );
}

/** A client for SQS. The endpoint is the environment's, not the host name inside the queue's URL. */
export function createSqsClient(): SQSClient {
  return withRemedies(new SQSClient({ ...commonOptions(), useQueueUrlAsEndpoint: false }));
}

/** A client for Step Functions. */
export function createSfnClient(): SFNClient {
  return withRemedies(new SFNClient(commonOptions()));
}

/** A client for Secrets Manager. */
export function createSecretsManagerClient(): SecretsManagerClient {
  return withRemedies(new SecretsManagerClient(commonOptions()));
}
