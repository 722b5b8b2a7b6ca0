import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createS3LedgerStore } from '#adapters/ledger-s3.ts';
import { LedgerConflictError } from '#core/errors.ts';

/** Objects by path, with conditional writes as S3 has them; `losesAnswers` of the next writes that it makes. */
const objects = new Map<string, { body: string; etag: string }>();
let losesAnswers = 0;
let count = 0;
let server: Server;

beforeEach(async () => {
  objects.clear();
  losesAnswers = 0;
  server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const path = request.url!.split('?')[0]!;
      const found = objects.get(path);
      if (request.method === 'GET') {
        if (!found) return void response.writeHead(404).end();
        return void response.writeHead(200, { etag: found.etag }).end(found.body);
      }
      const isRefused =
        (request.headers['if-none-match'] === '*' && found !== undefined) ||
        (request.headers['if-match'] !== undefined && request.headers['if-match'] !== found?.etag);
      if (isRefused) return void response.writeHead(412).end();
      const etag = `"${++count}"`;
      if (request.method === 'DELETE') objects.delete(path);
      else objects.set(path, { body: Buffer.concat(chunks).toString(), etag });
      if (losesAnswers-- > 0) return void request.socket.destroy();
      response.writeHead(request.method === 'DELETE' ? 204 : 200, { etag }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => void server.close());

const storeOf = () =>
  createS3LedgerStore(
    new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      requestChecksumCalculation: 'WHEN_REQUIRED',
    }),
    'bucket',
    'ledger/',
  );

test('a change whose answer is lost is no conflict with itself', async () => {
  const store = storeOf();
  losesAnswers = 1;
  const version = await store.put('phase.json', '{"by":"one"}', null);
  losesAnswers = 1;
  const next = await store.put('phase.json', '{"by":"two"}', version);
  expect(await store.get('phase.json')).toEqual({ value: '{"by":"two"}', version: next });
});

test('it is one when somebody else wrote meanwhile', async () => {
  const store = storeOf();
  const version = await store.put('phase.json', '{"by":"one"}', null);
  await store.put('phase.json', '{"by":"another"}', version);
  losesAnswers = 1;
  await expect(store.put('phase.json', '{"by":"two"}', version)).rejects.toBeInstanceOf(LedgerConflictError);
  await expect(store.put('phase.json', '{"by":"another"}', version)).rejects.toBeInstanceOf(LedgerConflictError);
});
