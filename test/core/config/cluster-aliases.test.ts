import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import type { ClusterConfig } from '#core/config/schema.ts';
import { ConfigError } from '#core/errors.ts';

const target = 'target: { contactPoints: [b] }\n';
const originOf = (yaml: string): ClusterConfig => parseMigrationConfig(`${yaml}\n${target}`, 'm.yaml', {}).origin;

function issuesOf(origin: string): string[] {
  try {
    parseMigrationConfig(`origin:\n  hosts: [a]\n${origin}\n${target}`, 'm.yaml', {});
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.issues.map(({ path, line, message }) => `${path}:${line}: ${message}`);
  }
  return [];
}

test('a section in the names of the state store is the same as one in the own names', () => {
  const theirs = `
origin:
  hosts: [a, b]
  port: 9043
  username: u
  password: p
  num_conns: 8
  timeout: 15s
  connect_timeout: 1m30s
  max_wait_time: 1.5s
  consistency: QUORUM
  serial_consistency: SERIAL
  token_aware_routing: false
  dc_aware_routing: true
  local_dc: dc7
  page_size: 10000
  prepared_statement_cache_size: 2000
  tls: { enabled: true, ca_file: /ca.pem, cert_file: /c.pem, key_file: /k.pem, insecure_skip_verify: false }
  retry_policy: { num_retries: 5, min_retry_delay: 100ms, max_retry_delay: 30s, retryable_errors: [timeout] }
  metrics_enabled: true
  tracing_enabled: false`;
  const own = `
origin:
  contactPoints: [a, b]
  port: 9043
  auth: { username: u, password: p }
  connectionsPerHost: 8
  requestTimeoutMs: 15000
  connectTimeoutMs: 90000
  maxWaitMs: 1500
  consistency: { read: QUORUM, write: QUORUM, serial: SERIAL }
  routing: { tokenAware: false }
  localDatacenter: dc7
  pageSize: 10000
  preparedCacheSize: 2000
  tls: { enabled: true, caFile: /ca.pem, certFile: /c.pem, keyFile: /k.pem }
  retry: { maxAttempts: 6, minDelayMs: 100, maxDelayMs: 30000, on: [timeout] }`;
  expect(originOf(theirs)).toEqual(originOf(own));
});

test('JSON is read as well, and names of both kinds go together where they say different things', () => {
  const json = '{"origin":{"hosts":["a"],"connectionsPerHost":2,"timeout":"10s"},"target":{"hosts":["b"]}}';
  expect(parseMigrationConfig(json, 'm.json', {}).origin).toMatchObject({
    contactPoints: ['a'],
    connectionsPerHost: 2,
    requestTimeoutMs: 10_000,
  });
});

test('a variable of the environment may stand in an alias', () => {
  const text = `origin: { hosts: [a], username: u, password: "\${PW}" }\n${target}`;
  expect(parseMigrationConfig(text, 'm.yaml', { PW: 'x' }).origin.auth).toEqual({ username: 'u', password: 'x' });
});

test.each([
  ['  contactPoints: [b]', ['origin.hosts:2: says the same as origin.contactPoints: give one of them']],
  [
    '  timeout: 1s\n  requestTimeoutMs: 1000',
    ['origin.timeout:3: says the same as origin.requestTimeoutMs: give one of them'],
  ],
  [
    '  serial_consistency: SERIAL\n  consistency: { serial: SERIAL }',
    ['origin.serial_consistency:3: says the same as origin.consistency.serial: give one of them'],
  ],
  [
    '  retry: { maxAttempts: 2 }\n  retry_policy:\n    num_retries: 2',
    ['origin.retry_policy.num_retries:5: says the same as origin.retry.maxAttempts: give one of them'],
  ],
  [
    '  tls:\n    enabled: true\n    caFile: a\n    ca_file: a',
    ['origin.tls.ca_file:6: says the same as origin.tls.caFile: give one of them'],
  ],
  [
    '  auth: { username: u, password: p }\n  username: u\n  password: p',
    [
      'origin.username:4: says the same as origin.auth: give one of them',
      'origin.password:5: says the same as origin.auth: give one of them',
    ],
  ],
])('what is said twice is a fault that names both: %s', (origin, issues) => {
  expect(issuesOf(origin)).toEqual(issues);
});

test.each([
  ['  num_conns: 65', /^origin\.num_conns:3: Too big/],
  ['  consistency: MOST', /^origin\.consistency:3: Invalid option/],
  ['  local_dc: ""', /^origin\.local_dc:3: /],
  ['  timeout: 10', /^origin\.timeout:3: must be a duration such as "10s"/],
  ['  timeout: 10 s', /^origin\.timeout:3: must be a duration/],
  ['  timeout: 0.5ms', /^origin\.timeout:3: must be a duration/],
  ['  timeout: 48h', /^origin\.timeout:3: Too big/],
  ['  username: u', /^origin\.username:3: needs username and password/],
  ['  retry_policy:\n    num_retries: 20', /^origin\.retry_policy\.num_retries:4: .*0 to 19/],
  ['  retry_policy:\n    retryable_errors: [any]', /^origin\.retry_policy\.retryable_errors\.0:4: Invalid option/],
  ['  retry_policy:\n    speed: 1', /^origin\.retry_policy\.speed:4: unknown key/],
  ['  tls:\n    ca_file: a', /^origin\.tls\.ca_file:4: is not used while enabled is false/],
  ['  tls:\n    enabled: true\n    cert_file: a', /^origin\.tls\.keyFile:3: is needed beside certFile/],
  ['  tls:\n    insecure_skip_verify: true', /^origin\.tls\.insecure_skip_verify:4: .*tls\.caFile.*verifyHostname/],
  ['  dc_aware_routing: false', /^origin\.dc_aware_routing:3: can only be true.*localDatacenter/],
  ['  tracing_enabled: true', /^origin\.tracing_enabled:3: can only be false.*settraceprobability/],
  ['  log_level: debug', /^origin\.log_level:3: .*RINGSHIFT_LOG_LEVEL/],
  ['  keyspace: pins', /^origin\.keyspace:3: .*ledger\.keyspace/],
  ['  pagesize: 1', /^origin\.pagesize:3: unknown key/],
])('a wrong value is told by the name and the line that the file has: %s', (origin, issue) => {
  const issues = issuesOf(origin);
  expect(issues).toHaveLength(1);
  expect(issues[0]).toMatch(issue);
});

test('what comes over the file by the own names wins', () => {
  const text = `origin: { hosts: [a] }\n${target}`;
  const change = (value: unknown): unknown => {
    const { origin, ...rest } = value as { origin: object };
    return { ...rest, origin: { ...origin, contactPoints: ['z'] } };
  };
  expect(parseMigrationConfig(text, 'm.yaml', {}, change).origin.contactPoints).toEqual(['z']);
});
