import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { ConfigError } from '#core/errors.ts';
import { parseFilterRules } from '#core/filter/filter-rules.ts';
import { renderJsonSchemas } from '../../../config/write-json-schema.ts';

const root = new URL('../../../', import.meta.url);
const minimal = 'origin: { contactPoints: [a] }\ntarget: { contactPoints: [b] }\n';

test('everything but the contact points has a default', () => {
  const config = parseMigrationConfig(minimal, 'm.yaml', {});
  expect(config.proxy.initialPhase).toBe('origin-only');
  expect(config.proxy.shadowTimeoutMs).toBe(5000);
  expect(config.failedWrites).toMatchObject({ retryIntervalSecs: 60, maxAttempts: 3, batchSize: 100 });
  expect(config.origin.consistency.read).toBe('LOCAL_QUORUM');
});

test('three mistakes are reported together, each with its path and line', () => {
  const text = `${minimal}proxy:\n  shadowTimeoutMs: soon\n  nonsense: 1\nbulkLoad: { targetWriteMBps: -1 }\n`;
  const error = catchError(() => parseMigrationConfig(text, 'm.yaml', {}));
  expect(error).toBeInstanceOf(ConfigError);
  expect((error as ConfigError).issues.map(({ path, line }) => `${path}:${line}`).sort()).toEqual([
    'bulkLoad.targetWriteMBps:6',
    'proxy.nonsense:5',
    'proxy.shadowTimeoutMs:4',
  ]);
});

test('a missing environment variable is a fault and never an empty password', () => {
  const text = `${minimal.replace('[a]', '[a], auth: { username: u, password: "${NOT_SET}" }')}`;
  const error = catchError(() => parseMigrationConfig(text, 'm.yaml', {})) as ConfigError;
  expect(error.issues).toMatchObject([{ path: 'origin.auth.password', message: expect.stringContaining('NOT_SET') }]);
});

test('environment variables are put in and do not appear in messages', () => {
  const text = `origin: { contactPoints: [a], auth: { username: u, password: "\${PW}" }, port: x }\ntarget: { contactPoints: [b] }\n`;
  const error = catchError(() => parseMigrationConfig(text, 'm.yaml', { PW: 'hunter2' })) as ConfigError;
  expect(error.message).not.toContain('hunter2');
  expect(error.issues.map(({ path }) => path)).toEqual(['origin.port']);
});

test('the proxy may listen on any free port; a cluster has one', () => {
  const ports = 'proxy: { listen: { port: 0 }, admin: { port: 0 } }\n';
  expect(parseMigrationConfig(minimal + ports, 'm.yaml', {}).proxy).toMatchObject({
    listen: { port: 0 },
    admin: { port: 0 },
  });
  const error = catchError(() => parseMigrationConfig(minimal.replace('[a]', '[a], port: 0'), 'm.yaml', {}));
  expect((error as ConfigError).issues.map(({ path }) => path)).toEqual(['origin.port']);
});

test('text that is not YAML is one fault with its line', () => {
  const error = catchError(() => parseMigrationConfig('origin: [\n', 'm.yaml', {})) as ConfigError;
  expect(error.issues[0]?.line).toBeGreaterThan(0);
});

test('the example files are valid', async () => {
  const env = { MIGRATION_BUCKET: 'bucket', FAILED_WRITES_QUEUE_URL: 'https://queue' };
  const config = parseMigrationConfig(
    await readFile(new URL('config/migration.yaml', root), 'utf8'),
    'migration.yaml',
    env,
  );
  expect(config.ledger).toEqual({ kind: 's3', bucket: 'bucket', prefix: 'ledger/' });
  const rules = parseFilterRules(
    await readFile(new URL('config/filter-rules.yaml', root), 'utf8'),
    'filter-rules.yaml',
  );
  expect(rules.tenants.columns).toEqual(['system_domain_id']);
});

test('the generated JSON Schemas are not stale', async () => {
  for (const [name, text] of Object.entries(renderJsonSchemas())) {
    expect(await readFile(new URL(`config/${name}`, root), 'utf8')).toBe(text);
  }
});

function catchError(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

test('a setting that is not built yet is refused, not taken and forgotten', () => {
  const text =
    'origin: { contactPoints: [a] }\ntarget: { contactPoints: [b] }\nvalidation: { quietHours: 08:00-18:00 }\n';
  expect(() => parseMigrationConfig(text, 'm.yaml', {})).toThrow(/validation.quietHours.*not built yet/);
  expect(parseMigrationConfig(text.replace('08:00-18:00', 'null'), 'm.yaml', {}).validation.quietHours).toBeNull();
});

test('TLS files that are named while TLS is off are a fault, not silence', () => {
  const text =
    'origin: { contactPoints: [a], tls: { caFile: ca.pem } }\ntarget: { contactPoints: [b], tls: { enabled: true, caFile: ca.pem } }';
  const error = catchError(() => parseMigrationConfig(text, 'm.yaml', {})) as ConfigError;
  expect(error.issues).toMatchObject([
    { path: 'origin.tls.caFile', message: 'is not used while enabled is false; set enabled: true, or leave it out' },
  ]);
});
