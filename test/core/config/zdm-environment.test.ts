import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { applyZdmSettings, readZdmEnvironment, zdmFileVariables } from '#core/config/zdm-environment.ts';
import { zdmVariables } from '#core/config/zdm-variables.ts';

const CLUSTERS = { ZDM_ORIGIN_CONTACT_POINTS: '10.0.0.1, 10.0.0.2', ZDM_TARGET_CONTACT_POINTS: '10.1.0.1' };

function configOf(env: Record<string, string>, text = '{}') {
  const settings = readZdmEnvironment(env);
  expect(settings.faults).toEqual([]);
  const config = parseMigrationConfig(text, 'x.yaml', env, (value) =>
    applyZdmSettings(text === '{}' ? undefined : value, settings),
  );
  return { config, ...settings };
}

test('the variables alone make a configuration, with the defaults of zdm-proxy', () => {
  const { config } = configOf(CLUSTERS);
  expect(config.origin.contactPoints).toEqual(['10.0.0.1', '10.0.0.2']);
  expect(config.target.contactPoints).toEqual(['10.1.0.1']);
  expect(config.proxy).toMatchObject({
    listen: { host: 'localhost', port: 14002 },
    admin: { host: 'localhost', port: 14001, zdmMetricsPrefix: 'zdm' },
    initialPhase: 'dual-sync',
    maxClients: 1000,
  });
});

test('they come over a file, of which everything else stays', () => {
  const text =
    'origin: { contactPoints: [a], port: 9999 }\ntarget: { contactPoints: [b] }\nproxy: { listen: { port: 1234 } }\n';
  const { config } = configOf({ ...CLUSTERS, ZDM_TARGET_PORT: '9043', ZDM_PROXY_REQUEST_TIMEOUT_MS: '2500' }, text);
  expect(config.origin).toMatchObject({ contactPoints: ['10.0.0.1', '10.0.0.2'], port: 9999, requestTimeoutMs: 2500 });
  expect(config.target).toMatchObject({ port: 9043, requestTimeoutMs: 2500 });
  expect(config.proxy).toMatchObject({ listen: { host: '0.0.0.0', port: 1234 }, initialPhase: 'origin-only' });
});

test('TLS, bundles, topology and limits have their places', () => {
  const { config } = configOf({
    ...CLUSTERS,
    ZDM_ORIGIN_TLS_SERVER_CA_PATH: '/ca.pem',
    ZDM_ORIGIN_TLS_CLIENT_CERT_PATH: '/cert.pem',
    ZDM_ORIGIN_TLS_CLIENT_KEY_PATH: '/key.pem',
    ZDM_PROXY_TLS_CA_PATH: '/clients.pem',
    ZDM_PROXY_TLS_CERT_PATH: '/proxy.pem',
    ZDM_PROXY_TLS_KEY_PATH: '/proxy-key.pem',
    ZDM_PROXY_TLS_REQUIRE_CLIENT_AUTH: 'true',
    ZDM_PROXY_TOPOLOGY_ADDRESSES: '10.2.0.1,10.2.0.2',
    ZDM_PROXY_TOPOLOGY_INDEX: '1',
    ZDM_PROXY_MAX_CLIENT_CONNECTIONS: '77',
    ZDM_METRICS_PREFIX: 'mine',
    ZDM_METRICS_ADDRESS: '0.0.0.0',
  });
  expect(config.origin.tls).toMatchObject({
    enabled: true,
    caFile: '/ca.pem',
    certFile: '/cert.pem',
    keyFile: '/key.pem',
  });
  expect(config.target.tls.enabled).toBe(false);
  expect(config.proxy.listen.tls).toMatchObject({ certFile: '/proxy.pem', requireClientCertificate: true });
  expect(config.proxy.topology).toMatchObject({ sisters: ['10.2.0.1', '10.2.0.2'], address: '10.2.0.2' });
  expect(config.proxy).toMatchObject({ maxClients: 77, admin: { host: '0.0.0.0', zdmMetricsPrefix: 'mine' } });
});

test("clients give the target's login, which is the configured one on the origin; the other way round when told so", () => {
  const logins = {
    ...CLUSTERS,
    ZDM_ORIGIN_USERNAME: 'old',
    ZDM_ORIGIN_PASSWORD: 'o',
    ZDM_TARGET_USERNAME: 'new',
    ZDM_TARGET_PASSWORD: 't',
  };
  const origin = { username: 'old', password: 'o' };
  const target = { username: 'new', password: 't' };
  const { config } = configOf(logins);
  expect(config).toMatchObject({ origin: { auth: origin }, target: { auth: target } });
  expect(config.proxy.logins.mapping).toEqual({ new: { origin, target: null } });
  const forwarded = configOf({ ...logins, ZDM_FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN: 'true' });
  expect(forwarded.config.proxy.logins.mapping).toEqual({ old: { origin: null, target } });
});

test.each([
  [{ ZDM_PRIMARY_CLUSTER: 'ORIGIN' }, 'dual-sync', 'primary'],
  [{ ZDM_PRIMARY_CLUSTER: 'TARGET' }, 'target-primary', 'primary'],
  [{ ZDM_READ_MODE: 'DUAL_ASYNC_ON_SECONDARY' }, 'dual-sync', 'dualAsync'],
  [{ ZDM_PHASE: 'A' }, 'origin-only', 'primary'],
  [{ ZDM_PHASE: 'B', ZDM_PRIMARY_CLUSTER: 'ORIGIN' }, 'dual-sync', 'primary'],
  [{ ZDM_PHASE: 'B', ZDM_ASYNC_HANDOFF_ENABLED: 'true', ZDM_ENABLE_TARGET_WRITES: 'true' }, 'dual-async', 'primary'],
  [{ ZDM_PHASE: 'C' }, 'target-primary', 'primary'],
  [{ ZDM_PRIMARY_CLUSTER: 'ORIGIN', ZDM_ENABLE_TARGET_WRITES: 'false' }, 'origin-only', 'primary'],
] as const)('%o starts in %s and reads as %s', (env, phase, mode) => {
  const { config, warnings } = configOf({ ...CLUSTERS, ...env });
  expect(config.proxy.initialPhase).toBe(phase);
  expect(config.proxy.reads.mode).toBe(mode);
  if (!('ZDM_READ_MODE' in env)) expect(warnings.join()).toContain('ringshift phase set');
});

test('what is not taken over is said by name, and never with its value', () => {
  const { warnings } = readZdmEnvironment({
    ZDM_REPLACE_CQL_FUNCTIONS: 'false',
    ZDM_HEARTBEAT_INTERVAL_MS: '1',
    ZDM_NO_SUCH_THING: 'secret',
    ZDM_PROXY_SERVICE_HOST: '10.0.0.1',
    ZDM_PROXY_PORT_9042_TCP_ADDR: '10.0.0.1',
    ZDM_METRICS_ENABLED: 'false',
    ZDM_LOG_LEVEL: '',
  });
  const names = warnings.map((warning) => warning.split(' ')[0]);
  expect(names.sort()).toEqual([
    'ZDM_HEARTBEAT_INTERVAL_MS',
    'ZDM_METRICS_ENABLED',
    'ZDM_NO_SUCH_THING',
    'ZDM_REPLACE_CQL_FUNCTIONS',
  ]);
  expect(warnings.join()).not.toContain('secret');
});

test('every variable is set, handled or ignored with a reason; none is silently dropped', () => {
  for (const [name, rule] of zdmVariables) {
    if (rule.kind !== 'ignored') continue;
    expect(readZdmEnvironment({ [name]: '1' }).warnings).toEqual([`${name} is ignored: ${rule.why}`]);
  }
});

test('wrong values are faults of the variable', () => {
  const { faults } = readZdmEnvironment({
    ZDM_ORIGIN_PORT: 'x',
    ZDM_PRIMARY_CLUSTER: 'BOTH',
    ZDM_READ_MODE: 'SOME',
    ZDM_PHASE: 'Z',
    ZDM_METRICS_ENABLED: 'perhaps',
    ZDM_PROXY_TOPOLOGY_ADDRESSES: '10.0.0.1',
    ZDM_PROXY_TOPOLOGY_INDEX: '1',
  });
  expect(faults.map(({ path }) => path).sort()).toEqual([
    'ZDM_METRICS_ENABLED',
    'ZDM_ORIGIN_PORT',
    'ZDM_PHASE',
    'ZDM_PRIMARY_CLUSTER',
    'ZDM_PROXY_TOPOLOGY_INDEX',
    'ZDM_READ_MODE',
  ]);
});

test('levels of the log are told in our words', () => {
  expect(readZdmEnvironment({ ZDM_LOG_LEVEL: 'WARNING' }).logLevel).toBe('warn');
  expect(readZdmEnvironment({ ZDM_LOG_LEVEL: 'DEBUG' }).logLevel).toBe('debug');
});

test("zdm-proxy's own file is known by its keys", () => {
  expect(zdmFileVariables({ primary_cluster: 'ORIGIN', origin_port: 9042, target_password: null })).toEqual({
    ZDM_PRIMARY_CLUSTER: 'ORIGIN',
    ZDM_ORIGIN_PORT: '9042',
    ZDM_TARGET_PASSWORD: '',
  });
  expect(zdmFileVariables({ origin: {}, target: {} })).toBeUndefined();
  expect(zdmFileVariables({})).toBeUndefined();
});

test('the table for those who come from zdm-proxy says of each variable what becomes of it', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/zdm-migration.md'), 'utf8');
  const rows = new Map(
    [...text.matchAll(/^\| `(ZDM_\w+)` \| (.+) \|$/gm)].map(([, name, meaning]) => [name, meaning ?? '']),
  );
  expect([...rows.keys()].sort()).toEqual([...zdmVariables.keys()].sort());
  for (const [name, rule] of zdmVariables) {
    if (rule.kind === 'ignored') expect(rows.get(name)).toBe(`ignored: ${rule.why}`);
    if (rule.kind === 'set') for (const path of rule.paths) expect(rows.get(name)).toContain(`\`${path}\``);
  }
});

test('a certificate for a cluster without its authority is a fault, and no connection without TLS', () => {
  const { faults } = readZdmEnvironment({ ZDM_TARGET_TLS_CLIENT_CERT_PATH: '/cert.pem' });
  expect(faults.map(({ path }) => path)).toEqual(['ZDM_TARGET_TLS_SERVER_CA_PATH']);
});
