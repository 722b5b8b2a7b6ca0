import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createS3Client } from '#adapters/aws-clients.ts';
import { createS3ObjectStore, parseS3Uri } from '#adapters/s3.ts';
import { ObjectStoreError } from '#core/errors.ts';

const BODY = Buffer.from('0123456789');
type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server that answers as told; counts what it was asked. */
let answer: Answer;
let requests: { method: string; url: string; headers: IncomingMessage['headers'] }[];
let server: Server;

const known = { ...process.env };

beforeEach(async () => {
  requests = [];
  server = createServer((request, response) => {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers });
    request.resume().on('end', () => answer(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  });
});

afterEach(async () => {
  process.env = { ...known };
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const store = () => createS3ObjectStore(createS3Client(), 'the-bucket');

/** What S3 does with a Range header. */
const ranged: Answer = (request, response) => {
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const part = BODY.subarray(Number(match?.[1]), Number(match?.[2]) + 1);
  response.writeHead(206, { 'content-length': part.length, etag: '"one"' }).end(part);
};

test('a range is read with one ranged request to the bucket in the path', async () => {
  answer = ranged;
  const source = await store().open('a/key', BODY.length);
  expect(Buffer.from(await source.read(2, 6)).toString()).toBe('2345');
  expect(requests).toHaveLength(1);
  expect(requests[0]?.url).toContain('/the-bucket/a/key');
  expect(requests[0]?.headers.range).toBe('bytes=2-5');
});

test('an empty range asks for nothing, and one beyond the end is a mistake of the caller', async () => {
  answer = ranged;
  const source = await store().open('key', BODY.length);
  expect(await source.read(4, 4)).toEqual(new Uint8Array(0));
  await expect(source.read(4, 11)).rejects.toThrow(RangeError);
  await expect(source.read(-1, 4)).rejects.toThrow(RangeError);
  expect(requests).toHaveLength(0);
});

test('the whole object instead of the range is an error, not a read from the wrong place', async () => {
  answer = (_request, response) => response.writeHead(200, { 'content-length': BODY.length }).end(BODY);
  const source = await store().open('key', BODY.length);
  await expect(source.read(2, 6)).rejects.toThrow(/200 came back instead of 206/);
});

test('a short body is an error that says how short', async () => {
  answer = (_request, response) => response.writeHead(206, { 'content-length': 3 }).end('abc');
  const source = await store().open('key', BODY.length);
  await expect(source.read(2, 6)).rejects.toThrow(/3 bytes came back instead of 4/);
});

test('a body that breaks off half-way is read again', async () => {
  answer = (request, response) => {
    if (requests.length > 1) return ranged(request, response);
    response.writeHead(206, { 'content-length': 4, etag: '"one"' }).write('23', () => response.destroy());
  };
  const source = await store().open('key', BODY.length);
  expect(Buffer.from(await source.read(2, 6)).toString()).toBe('2345');
  expect(requests.length).toBeGreaterThan(1);
});

test('all reads of a source demand the object that the first one saw', async () => {
  answer = ranged;
  const source = await store().open('key', BODY.length);
  await source.read(0, 1);
  await source.read(1, 2);
  expect(requests.map((request) => request.headers['if-match'])).toEqual([undefined, '"one"']);
});

test('an object that was replaced meanwhile is an error that says so', async () => {
  answer = (request, response) => {
    if (requests.length === 1) return ranged(request, response);
    response
      .writeHead(412, { 'content-type': 'application/xml' })
      .end('<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>');
  };
  const source = await store().open('key', BODY.length);
  await source.read(0, 1);
  await expect(source.read(1, 2)).rejects.toThrow(/replaced while it was being read/);
});

test('a missing object is undefined for get, and an ObjectStoreError for open', async () => {
  answer = (_request, response) =>
    response
      .writeHead(404, { 'content-type': 'application/xml' })
      .end(requests.at(-1)?.method === 'HEAD' ? undefined : '<Error><Code>NoSuchKey</Code></Error>');
  expect(await store().get('key')).toBeUndefined();
  await expect(store().open('key')).rejects.toThrow(ObjectStoreError);
});

test('a missing bucket is no missing object: it names the remedy', async () => {
  answer = (_request, response) =>
    response.writeHead(404, { 'content-type': 'application/xml' }).end('<Error><Code>NoSuchBucket</Code></Error>');
  await expect(store().get('key')).rejects.toThrow(/deploy the stacks first/);
});

test('a listing goes on to the last page', async () => {
  answer = (request, response) => {
    const token = new URL(request.url ?? '', 'http://x').searchParams.get('continuation-token');
    const page = token === null ? 1 : 2;
    response
      .writeHead(200, { 'content-type': 'application/xml' })
      .end(
        `<ListBucketResult><IsTruncated>${page === 1}</IsTruncated><Contents><Key>p/${page}</Key><Size>${page}</Size></Contents>${
          page === 1 ? '<NextContinuationToken>more</NextContinuationToken>' : ''
        }</ListBucketResult>`,
      );
  };
  const found: unknown[] = [];
  for await (const object of store().list('p/')) found.push(object);
  expect(found).toEqual([
    { key: 'p/1', byteLength: 1 },
    { key: 'p/2', byteLength: 2 },
  ]);
});

test('an abort of the caller is passed on as it is', async () => {
  answer = () => undefined;
  const source = await store().open('key', BODY.length);
  const controller = new AbortController();
  const reading = source.read(0, 1, controller.signal);
  controller.abort();
  await expect(reading).rejects.toMatchObject({ name: 'AbortError' });
});

test.each([
  ['s3://bucket/a/b', { bucket: 'bucket', key: 'a/b' }],
  ['s3://bucket', { bucket: 'bucket', key: '' }],
  ['/a/b', undefined],
  ['s3://UPPER/x', undefined],
])('the URI %s is taken apart', (uri, expected) => {
  expect(parseS3Uri(uri)).toEqual(expected);
});
