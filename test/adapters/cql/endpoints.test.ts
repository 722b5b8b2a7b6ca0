import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolveCluster } from '#adapters/config-file.ts';
import { Endpoints } from '#adapters/cql/endpoints.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { BundleStub } from '../../support/secure-connect-bundle.ts';
import { createAuthority } from '../../support/x509.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-endpoints-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function endpointsOf(origin: object): Promise<Endpoints> {
  const config = migrationConfigSchema.parse({ origin, target: { contactPoints: ['b'] } });
  return new Endpoints(await resolveCluster('origin', config.origin));
}

test('each connection is made with the certificates that are there at that time', async () => {
  const caFile = join(folder, 'ca.pem');
  writeFileSync(caFile, createAuthority('first').cert);
  const endpoints = await endpointsOf({ contactPoints: ['a'], tls: { enabled: true, caFile } });
  const before = endpoints.addressOf('a').tls?.context;
  expect(endpoints.reload()).toEqual([{ setting: 'origin.tls', isChanged: false }]);
  expect(endpoints.addressOf('a').tls?.context).toBe(before);
  writeFileSync(caFile, createAuthority('the second').cert);
  expect(endpoints.reload()).toEqual([{ setting: 'origin.tls', isChanged: true }]);
  expect(endpoints.addressOf('a').tls?.context).not.toBe(before);
});

test('a renewed bundle takes the place of the old one, and a broken one does not', async () => {
  const [first, second] = [new BundleStub(), new BundleStub()];
  await Promise.all([first.start(), second.start()]);
  try {
    first.nodes.set('of the first', 1);
    second.nodes.set('of the second', 1);
    const secureConnectBundle = join(folder, 'bundle.zip');
    writeFileSync(secureConnectBundle, first.bundle());
    const endpoints = await endpointsOf({ secureConnectBundle });
    expect(await endpoints.locate(false)).toEqual(['of the first']);
    writeFileSync(secureConnectBundle, 'half an archive');
    expect(endpoints.reload()).toEqual([
      { setting: 'origin.secureConnectBundle', isChanged: false, fault: expect.stringContaining('is no bundle') },
    ]);
    expect(await endpoints.locate(true)).toEqual(['of the first']);
    writeFileSync(secureConnectBundle, second.bundle());
    expect(endpoints.reload()).toMatchObject([{ isChanged: true }]);
    expect(await endpoints.locate(false)).toEqual(['of the second']);
    expect(await endpoints.locate(false)).toBeUndefined();
    expect(endpoints.addressOf('of the second')).toMatchObject({ via: 'localhost', port: second.proxyPort });
  } finally {
    await Promise.all([first.stop(), second.stop()]);
  }
});

test('as long as nothing is known of the nodes behind a bundle there is no way to them, least of all one without TLS', async () => {
  const stub = new BundleStub();
  const secureConnectBundle = join(folder, 'bundle.zip');
  await stub.start();
  writeFileSync(secureConnectBundle, stub.bundle());
  await stub.stop();
  const endpoints = await endpointsOf({ secureConnectBundle });
  expect(() => endpoints.addressOf('a')).toThrow(/origin\.secureConnectBundle/);
});
