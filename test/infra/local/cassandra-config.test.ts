import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { cassandraYaml, logbackXml, type NodeSettings } from '../../../infra/local/cassandra-config.ts';
import { serverArguments } from '../../../infra/local/java-command.ts';

const settings: NodeSettings = {
  name: 'demo-origin',
  version: '4.1.10',
  address: '127.0.0.1',
  port: 9042,
  storagePort: 7000,
  jmxPort: 7101,
  heapMB: 512,
  folder: '/home/me/my: clone/.ringshift/demo/origin',
  survivesKill: false,
};

test('the yaml is valid whatever the folder is called', () => {
  const yaml = parse(cassandraYaml(settings)) as Record<string, unknown>;
  expect(yaml['data_file_directories']).toEqual([`${settings.folder}/data`]);
  expect(yaml['commitlog_directory']).toBe(`${settings.folder}/commitlog`);
});

test('a node listens on its own address alone', () => {
  const yaml = parse(cassandraYaml(settings)) as Record<string, unknown>;
  expect(yaml['listen_address']).toBe('127.0.0.1');
  expect(yaml['rpc_address']).toBe('127.0.0.1');
});

test('passwords and permissions are checked', () => {
  const yaml = parse(cassandraYaml(settings)) as Record<string, unknown>;
  expect(yaml['authenticator']).toBe('PasswordAuthenticator');
  expect(yaml['authorizer']).toBe('CassandraAuthorizer');
});

test('a folder with XML characters does not break the log configuration', () => {
  expect(logbackXml('/a&b/<c>/system.log')).toContain('<file>/a&amp;b/&lt;c>/system.log</file>');
});

test('the JVM gets heap, JMX port, configuration as a URL, and the class path in the given order', () => {
  const args = serverArguments(settings, ['/lib/a.jar', '/lib/jamm-0.4.0.jar']);
  expect(args).toContain('-Xmx512m');
  expect(args).toContain('-Dcassandra.jmx.local.port=7101');
  expect(args).toContain('-javaagent:/lib/jamm-0.4.0.jar');
  const config = args.find((arg) => arg.startsWith('-Dcassandra.config='));
  expect(config).toBe('-Dcassandra.config=file:///home/me/my:%20clone/.ringshift/demo/origin/conf/cassandra.yaml');
  expect(args[args.indexOf('-cp') + 1]).toBe('/lib/a.jar:/lib/jamm-0.4.0.jar');
});

test('a node that will be killed syncs its commit log before it answers', () => {
  const yaml = parse(cassandraYaml({ ...settings, survivesKill: true })) as Record<string, unknown>;
  expect(yaml['commitlog_sync']).toBe('group');
  expect((parse(cassandraYaml(settings)) as Record<string, unknown>)['commitlog_sync']).toBe('periodic');
});

test('Cassandra 4.0 gets units in the names of its settings, 4.1 beside the values', () => {
  const old = parse(cassandraYaml({ ...settings, version: '4.0.19' })) as Record<string, unknown>;
  expect(old['commitlog_segment_size_in_mb']).toBe(8);
  expect(old['commitlog_sync_period_in_ms']).toBe(10_000);
  expect(Object.values(old).filter((value) => /^\d+(MiB|ms)$/.test(String(value)))).toEqual([]);
  expect((parse(cassandraYaml(settings)) as Record<string, unknown>)['commitlog_segment_size']).toBe('8MiB');
});

test('5.0 writes the SSTable format that is asked for', () => {
  const yamlOf = (sstableFormat?: 'oa' | 'da') =>
    parse(cassandraYaml({ ...settings, version: '5.0.9', sstableFormat })) as Record<string, unknown>;
  expect(yamlOf()['storage_compatibility_mode']).toBeUndefined();
  expect(yamlOf('oa')).toMatchObject({ storage_compatibility_mode: 'NONE' });
  expect(yamlOf('oa')['sstable']).toBeUndefined();
  expect(yamlOf('da')).toMatchObject({ storage_compatibility_mode: 'NONE', sstable: { selected_format: 'bti' } });
});

test('a node of a ring shares the name of the cluster and starts from the seed', () => {
  const seed = { address: '127.0.0.9', storagePort: 7000 };
  const yaml = parse(cassandraYaml({ ...settings, cluster: 'ring', seed, keepsHints: false }));
  expect(yaml).toMatchObject({ cluster_name: 'ring', hinted_handoff_enabled: false });
  expect(JSON.stringify(yaml)).toContain('"seeds":"127.0.0.9:7000"');
});
