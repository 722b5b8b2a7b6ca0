/**
 * AWS credentials for a process that runs on GCP, without a key anywhere: Google's metadata server signs an identity
 * token, and AWS gives credentials of one role for it.
 *
 * @see https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
 * @see https://cloud.google.com/compute/docs/instances/verifying-instance-identity
 */
import { fromWebToken } from '@aws-sdk/credential-provider-web-identity';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { AuthenticationFailedError, describeError, PrerequisiteError } from '#core/errors.ts';

interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

/** Gives credentials that are good for some minutes more; SDK clients call it whenever theirs are about to expire. */
export type CredentialsProvider = () => Promise<AwsCredentials>;

export interface GoogleIdentityOptions {
  /** The role of the storage stack: its output `ProxyRoleArn`. */
  readonly roleArn: string;
  /** What the token is made out to; the role trusts this one only. */
  readonly audience: string;
  /** Host of the metadata server, with a port where it is not 80. */
  readonly metadataHost?: string;
  readonly nowMillis?: () => number;
}

const DEFAULT_METADATA_HOST = 'metadata.google.internal';
const METADATA_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;
const STS_TIMEOUT_MS = 10_000;
/** A token has some hundred bytes; what is far longer is none. */
const MAX_TOKEN_CHARACTERS = 16_384;
/** The SDK asks again five minutes before the end; what is given then must last longer. */
const REFRESH_BEFORE_MS = 6 * 60_000;
/** What remains of credentials that are used on when their successors can't be had. */
const STILL_GOOD_MS = 60_000;
const SESSION_NAME = 'ringshift-proxy';

/**
 * Credentials of the role, kept until shortly before they expire; clients that share the provider share them.
 * @throws by the provider: PrerequisiteError when there is no metadata server, AuthenticationFailedError when AWS
 *   refuses the token; never with the token in its message
 */
export function createGoogleIdentityProvider(options: GoogleIdentityOptions): CredentialsProvider {
  const now = options.nowMillis ?? Date.now;
  let known: AwsCredentials | undefined;
  let pending: Promise<AwsCredentials> | undefined;
  const lifeMillis = (credentials: AwsCredentials): number => (credentials.expiration?.getTime() ?? 0) - now();
  const renew = async (): Promise<AwsCredentials> => {
    try {
      known = await assumeRole(options);
      return known;
    } catch (error) {
      // A failure of some seconds must not stop what still has minutes.
      if (known !== undefined && lifeMillis(known) > STILL_GOOD_MS) return known;
      throw error;
    } finally {
      pending = undefined;
    }
  };
  return async () => {
    if (known !== undefined && lifeMillis(known) > REFRESH_BEFORE_MS) return known;
    // All callers wait for the same answer.
    pending ??= renew();
    return pending;
  };
}

async function assumeRole({ roleArn, audience, metadataHost }: GoogleIdentityOptions): Promise<AwsCredentials> {
  const webIdentityToken = await readIdentityToken(audience, metadataHost ?? DEFAULT_METADATA_HOST);
  try {
    return await fromWebToken({
      roleArn,
      roleSessionName: SESSION_NAME,
      webIdentityToken,
      clientConfig: {
        requestHandler: new NodeHttpHandler({
          connectionTimeout: CONNECT_TIMEOUT_MS,
          requestTimeout: STS_TIMEOUT_MS,
          throwOnRequestTimeout: true,
        }),
      },
    })();
  } catch (error) {
    const reason = describeError(error).replaceAll(webIdentityToken, '…');
    throw new AuthenticationFailedError(
      `AWS gave no credentials of ${roleArn} for this machine's Google identity: ${reason}. ` +
        'Its trust must name the subject and the audience: deploy.aws.proxyIdentity of the configuration, then cdk deploy',
      { context: { roleArn, audience } },
    );
  }
}

async function readIdentityToken(audience: string, host: string): Promise<string> {
  const url = new URL(`http://${host}/computeMetadata/v1/instance/service-accounts/default/identity`);
  url.searchParams.set('audience', audience);
  url.searchParams.set('format', 'full');
  const remedy = 'RINGSHIFT_AWS_ROLE_ARN is for processes on GCP that run as a service account';
  let text: string;
  let status: number;
  try {
    const response = await fetch(url, {
      headers: { 'Metadata-Flavor': 'Google' },
      redirect: 'error',
      signal: AbortSignal.timeout(METADATA_TIMEOUT_MS),
    });
    status = response.status;
    text = (await response.text()).trim();
  } catch (cause) {
    throw new PrerequisiteError(`Google's metadata server at ${host} does not answer: ${remedy}`, { cause });
  }
  if (status !== 200) {
    throw new PrerequisiteError(`Google's metadata server at ${host} gave no identity token (${status}): ${remedy}`);
  }
  if (text.length > MAX_TOKEN_CHARACTERS || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(text)) {
    throw new PrerequisiteError(`what answers at ${host} gave no identity token: ${remedy}`);
  }
  return text;
}
