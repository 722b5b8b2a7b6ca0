import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readProxyConfig } from '#adapters/proxy-config.ts';
import { ConfigError, UsageError } from '#core/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringshift-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const absent = { RINGSHIFT_CONFIG_FILE: join(folder, 'absent.yaml') };
const clusters = { ZDM_ORIGIN_CONTACT_POINTS: '10.0.0.1', ZDM_TARGET_CONTACT_POINTS: '10.1.0.1' };

test('without a file the variables of zdm-proxy are the configuration, and without these the file is missed', async () => {
  const { config, logLevel } = await readProxyConfig(undefined, { ...absent, ...clusters, ZDM_LOG_LEVEL: 'DEBUG' });
  expect(config.proxy).toMatchObject({ listen: { port: 14002 }, initialPhase: 'dual-sync' });
  expect(logLevel).toBe('debug');
  await expect(readProxyConfig(undefined, absent)).rejects.toThrow(UsageError);
  await expect(readProxyConfig(join(folder, 'absent.yaml'), clusters)).rejects.toThrow(UsageError);
});

test('over a file they are overrides', async () => {
  const path = file('ours.yaml', 'origin: { contactPoints: [a] }\ntarget: { contactPoints: [b] }\n');
  const { config, warnings } = await readProxyConfig(path, { ZDM_TARGET_PORT: '1', ZDM_TRACING_ENABLED: 'true' });
  expect(config.target).toMatchObject({ contactPoints: ['b'], port: 1 });
  expect(config.proxy.listen.port).toBe(9042);
  expect(warnings).toEqual([expect.stringMatching(/^ZDM_TRACING_ENABLED is ignored/)]);
});

test("zdm-proxy's own file is taken, with its references to the environment", async () => {
  const path = file(
    'zdm.yml',
    'primary_cluster: TARGET\norigin_contact_points: 10.0.0.1\norigin_username: o\norigin_password: ${SECRET}\ntarget_contact_points: 10.1.0.1\nproxy_listen_port: 7777\n',
  );
  const { config } = await readProxyConfig(path, { SECRET: 's' });
  expect(config.origin).toMatchObject({ contactPoints: ['10.0.0.1'], auth: { username: 'o', password: 's' } });
  expect(config.proxy).toMatchObject({ initialPhase: 'target-primary', listen: { host: 'localhost', port: 7777 } });
});

test('wrong values are refused by the name of the variable', async () => {
  const wrong = readProxyConfig(undefined, { ...absent, ...clusters, ZDM_ORIGIN_PORT: 'secret' });
  await expect(wrong).rejects.toThrow(ConfigError);
  await expect(wrong).rejects.toThrow(/ZDM_ORIGIN_PORT: must be a whole number/);
  await expect(wrong).rejects.not.toThrow(/secret/);
});
