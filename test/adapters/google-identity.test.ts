import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { GetQueueUrlCommand } from '@aws-sdk/client-sqs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSqsClient } from '#adapters/aws-clients.ts';
import { createGoogleIdentityProvider } from '#adapters/google-identity.ts';

const ROLE = 'arn:aws:iam::123456789012:role/ringshift-proxy';
const AUDIENCE = 'ringshift:production';
const HOUR_MS = 3_600_000;
const START_MS = Date.parse('2026-01-01T00:00:00Z');

/** A metadata server of Google and an STS of AWS in one; the tests set what they answer. */
let server: Server;
let host: string;
let tokens: { url: string; flavor: string | undefined }[];
let exchanges: URLSearchParams[];
let requests: IncomingMessage[];
let tokenAnswer: { status: number; body: string };
let refuseExchange: boolean;
let nowMillis: number;

beforeEach(async () => {
  tokens = [];
  exchanges = [];
  requests = [];
  tokenAnswer = { status: 200, body: 'head.claims.signature\n' };
  refuseExchange = false;
  nowMillis = START_MS;
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.url?.startsWith('/computeMetadata/')) {
        tokens.push({ url: request.url, flavor: request.headers['metadata-flavor'] as string | undefined });
        response.writeHead(tokenAnswer.status).end(tokenAnswer.body);
      } else if (request.headers['x-amz-target'] !== undefined) {
        requests.push(request);
        response.writeHead(200, { 'Content-Type': 'application/x-amz-json-1.0' }).end('{"QueueUrl":"http://q"}');
      } else {
        exchanges.push(new URLSearchParams(Buffer.concat(chunks).toString()));
        if (refuseExchange) response.writeHead(403, { 'Content-Type': 'text/xml' }).end(refusal());
        else response.writeHead(200, { 'Content-Type': 'text/xml' }).end(credentials(exchanges.length));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  vi.stubEnv('AWS_ENDPOINT_URL', `http://${host}`);
  vi.stubEnv('AWS_REGION', 'eu-west-1');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function credentials(number: number): string {
  const expiration = new Date(nowMillis + HOUR_MS).toISOString();
  return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
    <AssumeRoleWithWebIdentityResult><Credentials>
      <AccessKeyId>key-${number}</AccessKeyId><SecretAccessKey>secret-${number}</SecretAccessKey>
      <SessionToken>session-${number}</SessionToken><Expiration>${expiration}</Expiration>
    </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`;
}

function refusal(): string {
  return `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
    <Code>AccessDenied</Code><Message>Not authorized: head.claims.signature</Message></Error></ErrorResponse>`;
}

const provider = () =>
  createGoogleIdentityProvider({ roleArn: ROLE, audience: AUDIENCE, metadataHost: host, nowMillis: () => nowMillis });

test("exchanges the machine's identity token, made out to the audience, for credentials of the role", async () => {
  expect(await provider()()).toMatchObject({
    accessKeyId: 'key-1',
    secretAccessKey: 'secret-1',
    sessionToken: 'session-1',
    expiration: new Date(START_MS + HOUR_MS),
  });
  expect(tokens).toEqual([
    {
      url: '/computeMetadata/v1/instance/service-accounts/default/identity?audience=ringshift%3Aproduction&format=full',
      flavor: 'Google',
    },
  ]);
  expect(Object.fromEntries(exchanges[0] ?? [])).toMatchObject({
    Action: 'AssumeRoleWithWebIdentity',
    RoleArn: ROLE,
    RoleSessionName: 'ringshift-proxy',
    WebIdentityToken: 'head.claims.signature',
  });
});

test('keeps credentials while they last and renews them before they expire, once for all who wait', async () => {
  const get = provider();
  await Promise.all([get(), get(), get()]);
  nowMillis = START_MS + HOUR_MS - 7 * 60_000;
  expect(await get()).toMatchObject({ accessKeyId: 'key-1' });
  expect(exchanges.length).toBe(1);
  nowMillis = START_MS + HOUR_MS - 5.5 * 60_000;
  const renewed = await Promise.all([get(), get()]);
  expect(renewed.map(({ accessKeyId }) => accessKeyId)).toEqual(['key-2', 'key-2']);
  expect(exchanges.length).toBe(2);
});

test('credentials that still have minutes are used on when new ones can not be had', async () => {
  const get = provider();
  await get();
  refuseExchange = true;
  nowMillis = START_MS + HOUR_MS - 3 * 60_000;
  expect(await get()).toMatchObject({ accessKeyId: 'key-1' });
  nowMillis = START_MS + HOUR_MS - 30_000;
  await expect(get()).rejects.toMatchObject({ name: 'AuthenticationFailedError' });
  refuseExchange = false;
  expect((await get()).accessKeyId).toMatch(/^key-/);
});

test('a refusal names the role and what must be configured, and never the token', async () => {
  refuseExchange = true;
  const error = await provider()().catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: 'AuthenticationFailedError' });
  expect(String(error)).toContain(ROLE);
  expect(String(error)).toContain('deploy.aws.proxyIdentity');
  expect(String(error)).not.toContain('claims');
});

test.each([
  ['a machine without a service account', { status: 404, body: 'not found' }],
  ['something that is no metadata server', { status: 200, body: '<html>log in</html>' }],
  ['an answer without an end', { status: 200, body: `a.b.${'c'.repeat(20_000)}` }],
])('%s is named as such, and AWS is not asked', async (_, answer) => {
  tokenAnswer = answer;
  await expect(provider()()).rejects.toMatchObject({ name: 'PrerequisiteError', retryable: false });
  expect(exchanges).toEqual([]);
});

test('clients of AWS use it when role and audience are in the environment', async () => {
  vi.stubEnv('RINGSHIFT_AWS_ROLE_ARN', ROLE);
  vi.stubEnv('RINGSHIFT_GOOGLE_AUDIENCE', AUDIENCE);
  vi.stubEnv('GCE_METADATA_HOST', host);
  nowMillis = Date.now();
  const client = createSqsClient();
  try {
    await client.send(new GetQueueUrlCommand({ QueueName: 'q' }));
  } finally {
    client.destroy();
  }
  expect(requests[0]?.headers['x-amz-security-token']).toBe('session-1');
  expect(requests[0]?.headers.authorization).toContain('Credential=key-1/');
});

test('a role without an audience, or the reverse, is refused by name', () => {
  vi.stubEnv('RINGSHIFT_AWS_ROLE_ARN', ROLE);
  vi.stubEnv('RINGSHIFT_GOOGLE_AUDIENCE', '');
  expect(() => createSqsClient()).toThrow(/RINGSHIFT_GOOGLE_AUDIENCE: must be set/);
});
