import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createSecureContext, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openCertificates } from '#adapters/certificates.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { Flusher } from '../../proxy-container/src/transport/frame-writer.ts';
import { encodePlainQuery, openSession } from '../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';
import { MockCluster } from '../support/mock-cluster.ts';
import { createAuthority, issue, type Pem } from '../support/x509.ts';

const STARTUP = new Map([['CQL_VERSION', '3.0.0']]);
const WRITE = "INSERT INTO ks.t (id, v) VALUES (1, 'x')";
const authority = createAuthority('the authority');
const stranger = createAuthority('another authority');
const HOST = { names: ['127.0.0.1'] };

let folder: string;
let world: TestProxy | undefined;
const clients: UpstreamConnection[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-tls-'));
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await world?.stop();
  world = undefined;
  rmSync(folder, { recursive: true, force: true });
});

function save(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function saveBoth(name: string, { cert, key }: Pem): { certFile: string; keyFile: string } {
  return { certFile: save(`${name}.crt`, cert), keyFile: save(`${name}.key`, key) };
}

/** A client of the proxy that trusts the authority. */
async function connect(own?: Pem, version: 4 | 5 = 4): Promise<UpstreamConnection> {
  const context = createSecureContext({ ca: authority.cert, ...own });
  const tls = { context, verifyHostname: true };
  const address = { host: '127.0.0.1', port: world!.port, connectTimeoutMs: 20_000, tls };
  const client = await UpstreamConnection.open(address, version, new Flusher());
  clients.push(client);
  await openSession(client, { version, startup: STARTUP, credentials: undefined, keyspace: undefined }, 20_000);
  return client;
}

async function write(client: UpstreamConnection): Promise<number> {
  const reply = await client.request(Opcode.QUERY, 0, encodePlainQuery(WRITE, client.version), 20_000);
  return reply[4]!;
}

async function startListening(tls: object, maxVersion: 4 | 5 = 4): Promise<void> {
  world = await startTestProxy({ listen: { host: '127.0.0.1', port: 0, tls } }, { maxVersion });
}

test.each([4, 5] as const)('clients speak v%i over TLS, and without it they get nothing', async (version) => {
  await startListening(saveBoth('proxy', issue(authority, 'proxy', HOST)), 5);
  const client = await connect(undefined, version);
  for (let round = 0; round < 100; round++) expect(await write(client)).toBe(Opcode.RESULT);
  const address = { host: '127.0.0.1', port: world!.port, connectTimeoutMs: 20_000 };
  const plain = await UpstreamConnection.open(address, 4, new Flusher());
  const identity = { version: 4, startup: STARTUP, credentials: undefined, keyspace: undefined };
  await expect(openSession(plain, identity, 20_000)).rejects.toThrow();
});

test('TLS 1.1 is refused', async () => {
  await startListening(saveBoth('proxy', issue(authority, 'proxy', HOST)));
  const options = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
  const failure = new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port: world!.port, ca: authority.cert, ...options }, () =>
      reject(socket),
    );
    socket.on('error', resolve);
  });
  expect(await failure).toMatchObject({ code: expect.stringMatching(/^ERR_SSL|ECONNRESET/) });
});

test('clients without a certificate of the authority are refused where one is required', async () => {
  const caFile = save('ca.crt', authority.cert);
  const own = saveBoth('proxy', issue(authority, 'proxy', HOST));
  await startListening({ ...own, caFile, requireClientCertificate: true });
  expect(await write(await connect(issue(authority, 'application')))).toBe(Opcode.RESULT);
  await expect(connect()).rejects.toThrow(/certificate of this side/);
  await expect(connect(issue(stranger, 'application'))).rejects.toThrow();
});

test('a renewed certificate is shown to new clients, and those that are connected stay so', async () => {
  const files = saveBoth('proxy', issue(authority, 'before', HOST));
  await startListening(files);
  const client = await connect();
  expect(await shownName()).toBe('before');
  saveBoth('proxy', issue(authority, 'after', HOST));
  await eventually(async () => expect(await shownName()).toBe('after'));
  expect(await write(client)).toBe(Opcode.RESULT);
});

function shownName(): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connectTls({ host: '127.0.0.1', port: world!.port, ca: authority.cert }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

test('a certificate without its key yet leaves the old pair in force, and the fault is told once', async () => {
  const files = saveBoth('node', issue(authority, 'before'));
  const certificates = openCertificates({ caFile: null, ...files }, 'proxy.listen.tls');
  const before = certificates.value.context;
  const faults: string[] = [];
  let changes = 0;
  certificates.watch(
    () => changes++,
    (fault) => faults.push(fault),
    5,
  );
  const after = issue(authority, 'after');
  writeFileSync(files.certFile, after.cert);
  await eventually(() => expect(faults).toHaveLength(1));
  expect(faults[0]).toMatch(/^proxy\.listen\.tls: certFile and keyFile do not belong together/);
  expect(certificates.value.context).toBe(before);
  writeFileSync(files.keyFile, after.key);
  await eventually(() => expect(changes).toBe(1));
  expect(certificates.value.context).not.toBe(before);
  certificates.close();
});

test('what is no key is told by its setting, and nothing that stands in the file', () => {
  const { certFile } = saveBoth('node', issue(authority, 'node'));
  const files = { caFile: null, certFile, keyFile: save('broken.key', 'the secret of the file') };
  expect(() => openCertificates(files, 'origin.tls')).toThrow(/^origin\.tls: .*is no PEM file/);
  expect(() => openCertificates(files, 'origin.tls')).not.toThrow(/secret/);
  const gone = { caFile: join(folder, 'gone'), certFile: null, keyFile: null };
  expect(() => openCertificates(gone, 'target.tls')).toThrow(
    /^target\.tls\.caFile: the file .*gone can't be read \(ENOENT\)/,
  );
});

/** A proxy to an origin that listens with TLS. */
async function startWithOrigin(own: Pem, tls: object, more: object = {}): Promise<void> {
  const origin = new MockCluster(4, { ...own, ...more });
  world = await startTestProxy(
    {},
    { clusters: { origin, target: new MockCluster() }, originConfig: { tls: { enabled: true, ...tls } } },
  );
}

test('a cluster is reached by TLS, with a certificate of this side where it wants one', async () => {
  const caFile = save('ca.crt', authority.cert);
  const own = saveBoth('proxy', issue(authority, 'proxy'));
  const wantsOne = { requestCert: true, rejectUnauthorized: true, ca: authority.cert };
  await startWithOrigin(issue(authority, 'node', HOST), { caFile, ...own }, wantsOne);
  const client = await world!.connect();
  expect(await write(client)).toBe(Opcode.RESULT);
  expect(world!.origin.texts(Opcode.QUERY)).toContain(WRITE);
});

test.each([
  [
    'has expired',
    () => issue(authority, 'node', { ...HOST, notAfter: new Date(Date.now() - 86_400_000) }),
    /has expired/,
  ],
  [
    'is for another host',
    () => issue(authority, 'node', { names: ['10.9.8.7'] }),
    /for another host name.*verifyHostname/,
  ],
  ['is of an unknown authority', () => issue(stranger, 'node', HOST), /not signed by.*tls\.caFile/],
])('a certificate of the origin that %s is refused, with side, host and remedy', async (_, certificate, message) => {
  const start = startWithOrigin(certificate(), { caFile: save('ca.crt', authority.cert) });
  await expect(start).rejects.toThrow(message);
  await expect(start).rejects.toThrow(/the origin .*127\.0\.0\.1:\d+/);
});

test('a certificate for another host is taken where the configuration does not verify names', async () => {
  const other = issue(authority, 'node', { names: ['10.9.8.7'] });
  await startWithOrigin(other, { caFile: save('ca.crt', authority.cert), verifyHostname: false });
  expect(await write(await world!.connect())).toBe(Opcode.RESULT);
});

test('a node that wants a certificate which this side does not have says so', async () => {
  const wantsOne = { requestCert: true, rejectUnauthorized: true, ca: authority.cert };
  const start = startWithOrigin(issue(authority, 'node', HOST), { caFile: save('ca.crt', authority.cert) }, wantsOne);
  await expect(start).rejects.toThrow(/wants a certificate of this side; set tls\.certFile and tls\.keyFile/);
});

test('a certificate whose path leads nowhere is named, before and while the proxy runs', async () => {
  const pem = issue(authority, 'node', HOST);
  const certFile = save('cert.pem', pem.cert);
  const files = { caFile: null, certFile, keyFile: save('key.pem', pem.key) };
  const certificates = openCertificates(files, 'origin.tls');
  const faults: string[] = [];
  certificates.watch(
    () => undefined,
    (fault) => faults.push(fault),
    5,
  );
  rmSync(certFile);
  symlinkSync(certFile, certFile);
  await eventually(() => expect(faults).toEqual([expect.stringMatching(/origin\.tls\.certFile.*ELOOP/)]));
  certificates.close();
  expect(() => openCertificates(files, 'origin.tls')).toThrow(/origin\.tls\.certFile.*ELOOP/);
});
