import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { parseFilterRules } from '#core/filter/filter-rules.ts';
import { outputNamed } from '../../../infra/local/cdk.ts';
import { appGrants, roleStatements } from '../../../infra/local/cluster-roles.ts';
import { describeEnvironment } from '../../../infra/local/environment.ts';
import { filteredTenant, filterRulesYaml, migrationYaml } from '../../../infra/local/local-migration.ts';
import { cassandraPom } from '../../../infra/local/prepare.ts';

const environment = describeEnvironment('example', 21, 4599);

test('the config of the local environment is valid and holds no password', () => {
  const text = migrationYaml(environment, { bucket: 'some-bucket', queueUrl: 'http://127.0.0.1:4599/0/queue' });
  const config = parseMigrationConfig(text, 'migration.yaml', {});
  expect(config.origin.contactPoints).toEqual(['127.0.0.21']);
  expect(config.target.contactPoints).toEqual(['127.0.0.22']);
  expect(config.proxy.listen).toEqual({ host: '127.0.0.23', port: 9042, tls: null });
  expect(config.ledger).toMatchObject({ kind: 's3', bucket: 'some-bucket' });
  expect(text).not.toMatch(/password/i);
});

test('the filter rules exclude the example tenant, and nothing when it is taken off', () => {
  expect(parseFilterRules(filterRulesYaml([filteredTenant]), 'filter-rules.yaml').tenants.exclude).toEqual([
    filteredTenant,
  ]);
  expect(parseFilterRules(filterRulesYaml([]), 'filter-rules.yaml').tenants.exclude).toEqual([]);
});

test('the tools may change the schema on the target only, and the application on neither', () => {
  expect(roleStatements('origin').join(';')).not.toMatch(/CREATE ON|ALTER|DROP/);
  expect(roleStatements('target')).toContain('GRANT CREATE ON ALL KEYSPACES TO ringshift');
  expect(roleStatements('target')).toContain('GRANT SELECT ON system."IndexInfo" TO ringshift');
  expect(appGrants(['shop'])).toEqual(['GRANT SELECT ON KEYSPACE shop TO app', 'GRANT MODIFY ON KEYSPACE shop TO app']);
});

test('an output is found in whichever stack has it', () => {
  const outputs = { storage: { BucketName: 'b' }, replay: { QueueUrl: 'q' } };
  expect(outputNamed(outputs, 'QueueUrl')).toBe('q');
  expect(outputNamed(outputs, 'Nothing')).toBeUndefined();
});

test('only 4.1 names the driver that its tools need', () => {
  expect(cassandraPom('4.1.10')).toContain('cassandra-driver-core');
  expect(cassandraPom('5.0.9')).not.toContain('cassandra-driver-core');
});
