import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Opcode } from '#core/cql/protocol.ts';
import { encodePlainQuery } from '../../proxy-container/src/upstream/handshake.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { MockCluster } from '../support/mock-cluster.ts';
import { BundleStub, writeZip } from '../support/secure-connect-bundle.ts';

const FIRST = '6a7f3a0e-0000-4000-8000-000000000001';
const SECOND = '6a7f3a0e-0000-4000-8000-000000000002';
const WRITE = "INSERT INTO ks.t (id, v) VALUES (1, 'x')";

let folder: string;
let stub: BundleStub;
let world: TestProxy | undefined;
const nodes: MockCluster[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-bundle-'));
  stub = new BundleStub();
  await stub.start();
});

afterEach(async () => {
  await world?.stop();
  world = undefined;
  await Promise.all(nodes.splice(0).map((node) => node.close()));
  await stub.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function addNode(hostId: string): Promise<MockCluster> {
  const node = new MockCluster();
  nodes.push(node);
  stub.nodes.set(hostId, await node.listen());
  return node;
}

function save(bytes: Buffer): string {
  const path = join(folder, 'bundle.zip');
  writeFileSync(path, bytes);
  return path;
}

async function start(bundle: Buffer): Promise<TestProxy> {
  const secureConnectBundle = save(bundle);
  world = await startTestProxy({}, { originConfig: { contactPoints: [], secureConnectBundle } });
  return world;
}

test('a cluster is reached through its bundle, all its nodes by their host ids', async () => {
  const [first, second] = [await addNode(FIRST), await addNode(SECOND)];
  const client = await (await start(stub.bundle())).connect();
  await eventually(async () => {
    await client.request(Opcode.QUERY, 0, encodePlainQuery(WRITE, 4), 20_000);
    expect(first.texts(Opcode.QUERY)).toContain(WRITE);
    expect(second.texts(Opcode.QUERY)).toContain(WRITE);
  });
  expect(new Set(stub.asked)).toEqual(new Set([FIRST, SECOND]));
});

test('when all nodes that were known are gone, the service is asked for others', async () => {
  const first = await addNode(FIRST);
  const client = await (await start(stub.bundle())).connect();
  const second = await addNode(SECOND);
  stub.nodes.delete(FIRST);
  first.disconnect();
  await eventually(async () => {
    await client.request(Opcode.QUERY, 0, encodePlainQuery(WRITE, 4), 20_000);
    expect(second.texts(Opcode.QUERY)).toContain(WRITE);
  });
});

test.each([
  ['is no archive', Buffer.from('something else'), /origin\.secureConnectBundle: .*bundle\.zip is no bundle/],
  ['has no certificates', writeZip({ 'config.json': '{"host":"localhost","port":1}' }), /has no ca\.crt/],
  ['does not say where', writeZip({ 'config.json': '{}' }), /config\.json without host and port/],
])('a bundle that %s is refused by its setting', async (_, bundle, message) => {
  await expect(start(bundle)).rejects.toThrow(message);
});

test('a service that does not answer is named', async () => {
  const bundle = stub.bundle();
  await stub.stop();
  await expect(start(bundle)).rejects.toThrow(
    /metadata service localhost:\d+ of the bundle can't be asked: nothing listens/,
  );
  stub = new BundleStub();
  await stub.start();
});

test.each([
  ['cut off', (archive: Buffer) => archive.subarray(0, archive.length - 30)],
  ['too large unpacked', () => writeZip({ 'config.json': 'x'.repeat(2 * 1024 * 1024) })],
])('a bundle that is %s is refused', async (_, damage) => {
  const bundle = damage(writeZip({ 'config.json': '{"host":"localhost","port":1}', 'ca.crt': 'x'.repeat(300) }));
  await expect(start(bundle)).rejects.toThrow(/origin\.secureConnectBundle: .* is no bundle/);
});

test.each(['localhost', 'localhost:99999', 'localhost:0'])(
  'a service that names the proxy %s is told apart',
  async (address) => {
    stub.proxyAddress = address;
    await addNode(FIRST);
    await expect(start(stub.bundle())).rejects.toThrow(`names a proxy without a port (${address})`);
  },
);
