import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { metricDefinitions } from '../../proxy-container/src/admin/metrics.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
const token = { authorization: 'Bearer token-of-the-unit-tests' };
const call = (path: string, init?: RequestInit) => fetch(`${parts.adminUrl}${path}`, init);

beforeAll(async () => {
  parts = await startTestProxy();
});
afterAll(() => parts.stop());

test('health says ready and live, with both clusters', async () => {
  expect((await call('/health/live')).status).toBe(200);
  const ready = await call('/health/ready');
  expect(ready.status).toBe(200);
  expect(await ready.json()).toMatchObject({ Status: 'UP', OriginStatus: 'UP', TargetStatus: 'UP', reasons: [] });
});

test('metrics hold every documented name', async () => {
  const text = await (await call('/metrics')).text();
  const isEmptyHere = new Set(['ringshift_queue_messages', 'ringshift_clock_skew_seconds']);
  for (const { name } of metricDefinitions) {
    if (!isEmptyHere.has(name) && !name.startsWith('ringshift_table_')) expect(text).toContain(`# TYPE ${name} `);
  }
  expect(text).toContain('ringshift_phase{phase="origin-only"} 1');
});

test('changes need the token', async () => {
  const put = { method: 'PUT', body: '{"phase":"dual-async"}' };
  expect((await call('/phase', put)).status).toBe(401);
  expect((await call('/phase', { ...put, headers: { authorization: 'Bearer wrong' } })).status).toBe(401);
  expect((await call('/filters', { method: 'POST' })).status).toBe(401);
});

test('a wrong body names its faults, and a closed gate its reasons', async () => {
  const put = (body: string) => call('/phase', { method: 'PUT', headers: token, body });
  expect((await put('{')).status).toBe(400);
  expect((await put('{"phase":"dual-async","x":1}')).status).toBe(400);
  const skipped = await put('{"phase":"target-only"}');
  expect(skipped.status).toBe(409);
  const closed = (await skipped.json()) as { reasons: string[]; unmet: { code: string; isForcible: boolean }[] };
  expect(closed.reasons[0]).toMatch(/skips a phase/);
  expect(closed.unmet).toMatchObject([{ code: 'step-skips-phase', isForcible: true }]);
  const everything = await put('{"phase":"target-only","force":true}');
  expect([everything.status, await everything.text()]).toEqual([
    400,
    expect.stringContaining('must be the list of codes'),
  ]);
  expect((await put('{"phase":"target-only","force":["queue-old"]}')).status).toBe(409);
});

test('PUT /phase resolves when the proxy acts on the new phase, by any of its names', async () => {
  const response = await call('/phase', { method: 'PUT', headers: token, body: '{"phase":"DualWriteAsync"}' });
  expect(response.status).toBe(200);
  expect(parts.proxy.status()).toMatchObject({ phase: 'dual-async', epoch: 2 });
  expect((await parts.ledger.readPhase())?.dualWritesSettledAt).toBeTypeOf('string');
});

test('every path of the OpenAPI document exists', async () => {
  const { paths } = (await (await call('/openapi.json')).json()) as { paths: Record<string, object> };
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods)) {
      expect([method, path, (await call(path, { method: method.toUpperCase() })).status]).not.toContain(404);
    }
  }
  expect((await call('/nothing')).status).toBe(404);
});

test('a path that is no URL is not found, and what is too long is refused, in words and not by a reset', async () => {
  const raw = (text: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = connect(Number(new URL(parts.adminUrl).port), '127.0.0.1', () => socket.end(text));
      let answer = '';
      socket.on('data', (chunk) => {
        answer += String(chunk);
      });
      socket.on('error', reject);
      socket.on('close', () => resolve(answer));
    });
  expect(await raw('GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).toMatch(/^HTTP\/1\.1 404 /);
  const long = await call('/phase', { method: 'PUT', headers: token, body: 'x'.repeat(2 * 1024 * 1024) });
  expect([long.status, await long.json()]).toEqual([413, { error: 'the body is longer than 1048576 bytes' }]);
});

test('certificates are read again on request, with the token', async () => {
  expect((await call('/certificates/reload', { method: 'POST' })).status).toBe(401);
  const reloaded = await call('/certificates/reload', { method: 'POST', headers: token });
  expect([reloaded.status, await reloaded.json()]).toEqual([200, []]);
});
