import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { ConfigError } from '#core/errors.ts';
import { type DeploymentOptions, describeDeployment, functionConfig, readOptions } from '../../infra/deployment.ts';
import { CONFIG, createApp } from './support.ts';

const options: DeploymentOptions = { name: 'ringshift', snapshotBuckets: [], mapConcurrency: 'plan' };
const parse = (text: string) => parseMigrationConfig(text, 'test.yaml', {});

function faultsOf(action: () => unknown): readonly string[] {
  try {
    action();
  } catch (error) {
    if (error instanceof ConfigError) return error.issues.map((issue) => issue.path);
    throw error;
  }
  return [];
}

test('a literal password is refused, without being repeated in the message', () => {
  const config = parse(
    'origin: { contactPoints: [a], auth: { username: u, password: hunter2 } }\ntarget: { contactPoints: [b], auth: { username: u, password: hunter3 } }',
  );
  expect(faultsOf(() => describeDeployment(config, options))).toEqual(['origin.auth', 'target.auth']);
  expect(() => describeDeployment(config, options)).not.toThrow(/hunter/);
});

test('a private key and files that are not there are refused together', () => {
  const config = parse(
    'origin: { contactPoints: [a], tls: { enabled: true, caFile: /nowhere/ca.pem, certFile: /nowhere/cert.pem, keyFile: /nowhere/key.pem } }\ntarget: { contactPoints: [b] }\nproxy: { filterRules: /nowhere/rules.yaml }',
  );
  expect(faultsOf(() => describeDeployment(config, options)).toSorted()).toEqual([
    'origin.tls.caFile',
    'origin.tls.certFile',
    'origin.tls.keyFile',
    'proxy.filterRules',
  ]);
});

test('a secure connect bundle, which holds a private key, is refused', () => {
  const config = parse('origin: { contactPoints: [a] }\ntarget: { secureConnectBundle: bundle.zip }');
  expect(faultsOf(() => describeDeployment(config, options))).toEqual(['target.secureConnectBundle']);
});

test('a CA certificate goes beside the code and is found by its bare name', () => {
  const file = import.meta.filename;
  const config = parse(
    `origin: { contactPoints: [a], tls: { enabled: true, caFile: "${file}" } }\ntarget: { contactPoints: [b] }`,
  );
  const deployment = describeDeployment(config, options);
  expect(deployment.bundledFiles).toEqual([{ path: file, name: 'origin-caFile-deployment.test.ts' }]);
  expect(deployment.config.origin.tls.caFile).toBe('origin-caFile-deployment.test.ts');
});

test('the variable holds what differs from the defaults only, and means the same', () => {
  const config = describeDeployment(parse(CONFIG), options).config;
  const small = functionConfig(config, 'the-bucket', 'https://queue');
  const text = JSON.stringify(small);
  expect(text.length).toBeLessThan(1000);
  const full = migrationConfigSchema.parse(JSON.parse(text));
  expect(full).toEqual({
    ...config,
    ledger: { kind: 's3', bucket: 'the-bucket', prefix: 'my-ledger/' },
    failedWrites: { ...config.failedWrites, queueUrl: 'https://queue' },
  });
});

test("the proxy's section and its token do not reach the functions", () => {
  const config = parse(`${CONFIG}proxy: { admin: { token: "a-token-of-sixteen-letters" } }\n`);
  const text = JSON.stringify(functionConfig(describeDeployment(config, options).config, 'the-bucket'));
  expect(text).not.toContain('a-token-of-sixteen-letters');
});

test('wrong knobs of the context are all named', () => {
  const app = createApp({ name: 'Über', mapConcurrency: 'many' });
  expect(faultsOf(() => readOptions(app))).toEqual(['name', 'mapConcurrency']);
});
