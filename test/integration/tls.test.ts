/** A Cassandra that clients reach by TLS alone, with certificates on both sides, and a proxy that does the same. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { Client, types } from 'cassandra-driver';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { migrationConfigSchema, type ResolvedCluster } from '#core/config/schema.ts';
import type { NodeSettings } from '../../infra/local/cassandra-config.ts';
import { startNode, stopNode } from '../../infra/local/cassandra-node.ts';
import { administrator } from '../../infra/local/cluster-roles.ts';
import { venvFolder, venvPython } from '../../infra/local/paths.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { tlsNode } from '../../infra/local/test-nodes.ts';
import { eventually } from '../support/eventually.ts';
import { ProxyProcess } from '../support/proxy-process.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { createAuthority, issue, type Pem } from '../support/x509.ts';
import { connectToTestCluster, recreateKeyspace } from './support/clusters.ts';
import { runVerb } from './support/command.ts';
import { nodetool } from './support/shared-tools.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const KS = 'tls_test';
const PORT = 19530;
const { proxyAddress: host, target: targetPlace } = readTestEnvironment();
const node = { host: tlsNode.address, port: tlsNode.port };
const folder = mkdtempSync(join(tmpdir(), 'ringshift-tls-'));
const clusterAuthority = createAuthority('the authority of the cluster');
const nextAuthority = createAuthority('the next authority of the cluster');
const clientAuthority = createAuthority('the authority of the clients');
const inFolder = (name: string): string => join(folder, name);
const files = {
  node: inFolder('node.pem'),
  nodeTrusts: inFolder('node-trusts.pem'),
  upstream: {
    caFile: inFolder('cluster-ca.pem'),
    certFile: inFolder('upstream.crt'),
    keyFile: inFolder('upstream.key'),
  },
  listen: { caFile: inFolder('client-ca.pem'), certFile: inFolder('proxy.crt'), keyFile: inFolder('proxy.key') },
  client: { certFile: inFolder('client.crt'), keyFile: inFolder('client.key') },
};
const application = issue(clientAuthority, 'application');
const settings: NodeSettings = { ...tlsNode, clientTls: { ownFile: files.node, caFile: files.nodeTrusts } };
const upstreamTls = { enabled: true, ...files.upstream };
/** Leads to the node under an address that its certificate does not name. */
const relay = new TcpRelay(host, PORT + 2, node);

let java: string;
let proxy: ProxyProcess;
let direct: Client;
let target: Client;
const clients: Client[] = [];

function savePair({ certFile, keyFile }: { certFile: string; keyFile: string }, { cert, key }: Pem): void {
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
}

function saveNodeCertificate(authority: Pem & { name: string }): void {
  const { cert, key } = issue(authority, 'node', { names: [node.host] });
  writeFileSync(files.node, `${key}${cert}`);
}

function clientOf(place: { host: string; port: number }, ca: string, own?: Pem, keyspace?: string): Client {
  const client = new Client({
    contactPoints: [place.host],
    protocolOptions: { port: place.port },
    localDataCenter: 'dc1',
    sslOptions: { ca, ...own, rejectUnauthorized: true },
    socketOptions: { readTimeout: 30_000 },
    queryOptions: { consistency: types.consistencies.localOne },
    ...(keyspace === undefined ? {} : { keyspace }),
  });
  clients.push(client);
  return client;
}

const throughProxy = (keyspace?: string): Client =>
  clientOf({ host, port: PORT }, clientAuthority.cert, application, keyspace);

/** The origin as the commands and functions see it. */
function originAt(place: { host: string; port: number }, tls: object = upstreamTls): ResolvedCluster {
  const config = migrationConfigSchema.parse({
    origin: { contactPoints: [place.host], port: place.port, tls },
    target: { contactPoints: [targetPlace.host] },
  });
  const { auth: _, ...rest } = config.origin;
  return { ...rest, name: 'origin', credentials: null };
}

async function valuesOf(cluster: Client): Promise<unknown[]> {
  const { rows } = await cluster.execute(`SELECT v FROM ${KS}.t`);
  return rows.map((row) => row['v']).sort();
}

beforeAll(async () => {
  ({ java } = await prepare(() => undefined));
  saveNodeCertificate(clusterAuthority);
  writeFileSync(files.nodeTrusts, clusterAuthority.cert);
  writeFileSync(files.upstream.caFile, clusterAuthority.cert);
  savePair(files.upstream, issue(clusterAuthority, 'proxy'));
  writeFileSync(files.listen.caFile, clientAuthority.cert);
  savePair(files.listen, issue(clientAuthority, 'proxy', { names: [host] }));
  savePair(files.client, application);
  await Promise.all([startNode(settings, { java, keepData: false }), relay.restore()]);
  direct = clientOf(node, clusterAuthority.cert, issue(clusterAuthority, 'a test'));
  target = await connectToTestCluster('target');
  for (const cluster of [direct, target]) {
    await recreateKeyspace(cluster, KS);
    await cluster.execute(`CREATE TABLE ${KS}.t (id int PRIMARY KEY, v text)`);
  }
  proxy = new ProxyProcess({
    listen: { host, port: PORT },
    admin: { host, port: PORT + 1 },
    origin: node,
    target: targetPlace,
    login: administrator,
    originConfig: { tls: upstreamTls },
    proxy: {
      initialPhase: 'dual-async',
      topology: { clusterName: 'the stable name' },
      listen: { host, port: PORT, tls: { ...files.listen, requireClientCertificate: true } },
    },
  });
  await proxy.start();
}, 240_000);

afterAll(async () => {
  await Promise.all(clients.map((client) => client.shutdown()));
  await target?.shutdown();
  await proxy?.stop();
  proxy?.cleanUp();
  await relay.cut();
  await stopNode(settings);
  rmSync(folder, { recursive: true, force: true });
});

test('what the Node driver writes by TLS arrives on both clusters', async () => {
  const client = throughProxy(KS);
  await client.execute('INSERT INTO t (id, v) VALUES (?, ?)', [1, 'node'], { prepare: true });
  expect(await valuesOf(direct)).toContain('node');
  await eventually(async () => expect(await valuesOf(target)).toContain('node'));
});

test('the Python driver, which verifies the name too, writes and reads by TLS', async () => {
  const program = `
import ssl, sys
from cassandra.cluster import Cluster
host, port, ca, cert, key, keyspace = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(ca)
context.load_cert_chain(cert, key)
cluster = Cluster([host], port=int(port), ssl_context=context, ssl_options={'server_hostname': host}, connect_timeout=60)
session = cluster.connect(keyspace)
session.default_timeout = 60
session.execute(session.prepare('INSERT INTO t (id, v) VALUES (?, ?)'), (2, 'python'))
print(cluster.protocol_version, session.execute('SELECT v FROM t WHERE id = 2').one().v)
cluster.shutdown()
`;
  const { caFile } = files.listen;
  const args = ['-c', program, host, String(PORT), caFile, files.client.certFile, files.client.keyFile, KS];
  const { stdout } = await promisify(execFile)(venvPython, args);
  expect(stdout.trim()).toBe('5 python');
  await eventually(async () => expect(await valuesOf(target)).toContain('python'));
});

test.each([4, 5])(
  'cqlsh comes by TLS in v%i, and DESCRIBE CLUSTER names the cluster as drivers know it',
  async (version) => {
    const { certFile, keyFile } = files.client;
    const settingsFile = inFolder('cqlshrc');
    writeFileSync(
      settingsFile,
      `[ssl]\ncertfile = ${files.listen.caFile}\nuserkey = ${keyFile}\nusercert = ${certFile}\nvalidate = true\n`,
    );
    const patience = ['--request-timeout', '60', '--connect-timeout', '60'];
    const args = [host, String(PORT), '--ssl', '--cqlshrc', settingsFile, '--protocol-version', String(version)];
    const { stdout } = await promisify(execFile)(join(venvFolder, 'bin', 'cqlsh'), [
      ...args,
      ...patience,
      '-e',
      'DESCRIBE CLUSTER',
    ]);
    expect(stdout).toMatch(/Cluster: the stable name\n/);
  },
);

test('a client without a certificate of its own is not let in', async () => {
  await expect(clientOf({ host, port: PORT }, clientAuthority.cert).connect()).rejects.toThrow();
  await eventually(() => expect(proxy.output).toMatch(/gave no certificate, and requireClientCertificate wants one/));
});

test.each([
  ['a session of load and validation', (cluster: ResolvedCluster) => createCqlSession(cluster)],
  ['the driver of schema and index commands', (cluster: ResolvedCluster) => connectDriver(cluster)],
])('%s reaches the cluster by TLS, and refuses a certificate for another name with the remedy', async (_, connect) => {
  const session = await connect(originAt(node));
  await ('close' in session ? session.close() : session.shutdown());
  const elsewhere = { host, port: PORT + 2 };
  await expect(connect(originAt(elsewhere))).rejects.toThrow(
    /for another host name; correct it or tls\.verifyHostname/,
  );
  const unverified = await connect(originAt(elsewhere, { ...upstreamTls, verifyHostname: false }));
  await ('close' in unverified ? unverified.close() : unverified.shutdown());
  const { caFile } = files.upstream;
  await expect(connect(originAt(node, { enabled: true, caFile }))).rejects.toThrow(
    /set tls\.certFile and tls\.keyFile/,
  );
});

test('a proxy that gets a certificate for another name does not start, and says what to do', async () => {
  const second = new ProxyProcess({
    listen: { host, port: PORT + 3 },
    admin: { host, port: PORT + 4 },
    origin: { host, port: PORT + 2 },
    target: targetPlace,
    login: administrator,
    originConfig: { tls: upstreamTls },
  });
  await expect(second.start()).rejects.toThrow(/for another host name; correct it or tls\.verifyHostname/);
  second.cleanUp();
});

test('the command compares schemas and data over the same TLS', async () => {
  const run = (...args: string[]) => runVerb(proxy.configFile, ...args);
  expect(await run('schema', 'diff', KS)).toMatchObject({ code: 0, json: { differences: [] } });
  await eventually(async () => expect(await valuesOf(target)).toEqual(['node', 'python']));
  expect(await run('validate', 'start', '--keyspace', KS, '--local')).toMatchObject({
    code: 0,
    json: { status: 'done' },
  });
});

test('certificates that are renewed on both sides while the proxy runs are those of new connections', async () => {
  const before = throughProxy(KS);
  await before.execute("INSERT INTO t (id, v) VALUES (3, 'before')");
  // Both authorities are good for a while, as where they are changed in earnest.
  writeFileSync(files.nodeTrusts, clusterAuthority.cert + nextAuthority.cert);
  saveNodeCertificate(nextAuthority);
  await nodetool(settings, 'reloadssl');
  // Another keyspace needs a new connection to the cluster, whose certificate the old authority did not sign.
  await expect(throughProxy('system_schema').connect()).rejects.toThrow();
  writeFileSync(files.upstream.caFile, nextAuthority.cert);
  savePair(files.upstream, issue(nextAuthority, 'proxy'));
  savePair(files.listen, issue(clientAuthority, 'renewed', { names: [host] }));
  await proxy.change('POST', '/certificates/reload');
  expect(await shownName()).toBe('renewed');
  await eventually(() => throughProxy('system_schema').connect());
  const session = await createCqlSession(originAt(node));
  await session.close();
  await before.execute("INSERT INTO t (id, v) VALUES (4, 'after')");
  await eventually(async () => expect(await valuesOf(target)).toEqual(['after', 'before', 'node', 'python']));

  // The same by SIGHUP.
  savePair(files.listen, issue(clientAuthority, 'renewed again', { names: [host] }));
  process.kill((await proxy.get<{ pid: number }>('/status')).pid, 'SIGHUP');
  await eventually(async () => expect(await shownName()).toBe('renewed again'));
  expect(proxy.output).toMatch(/"signal":"SIGHUP"/);
});

/** Whom the proxy's certificate is of. */
function shownName(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host, port: PORT, ca: clientAuthority.cert, ...application }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
