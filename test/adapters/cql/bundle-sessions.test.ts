import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { migrationConfigSchema, type ResolvedCluster } from '#core/config/schema.ts';
import { encodeSupported } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout } from '#core/cql/request-layout.ts';
import { encodePrepared, encodeRows, encodeVoid } from '#core/cql/result-message.ts';
import { encodeInet, encodeList, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import { eventually } from '../../support/eventually.ts';
import { BundleStub } from '../../support/secure-connect-bundle.ts';
import { type StubNode, startStubNode } from '../../support/stub-node.ts';

const FIRST = '6a7f3a0e-0000-4000-8000-000000000001';
const SECOND = '6a7f3a0e-0000-4000-8000-000000000002';
const ADDRESSES = { [FIRST]: '10.0.0.1', [SECOND]: '10.0.0.2' };
const TOKENS = { [FIRST]: '0', [SECOND]: '4611686018427387904' };

let folder: string;
let stub: BundleStub;
const nodes: StubNode[] = [];
/** The host ids of the nodes that got a statement of the test. */
const served: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-bundle-'));
  stub = new BundleStub();
  await stub.start();
  for (const id of [FIRST, SECOND] as const) await addNode(id);
});

afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()));
  await stub.stop();
  served.length = 0;
  rmSync(folder, { recursive: true, force: true });
});

type NodeId = keyof typeof ADDRESSES;

const native = (name: 'text' | 'uuid' | 'inet'): CqlType => ({ kind: 'native', name });

/** Rows of a system table: both nodes describe themselves with addresses that lead nowhere. */
function rowsOf(ids: readonly NodeId[], addressColumn: string): Buffer {
  const columns: [string, CqlType, (id: NodeId) => Buffer][] = [
    [addressColumn, native('inet'), (id) => encodeInet(ADDRESSES[id]!)],
    ['rpc_address', native('inet'), (id) => encodeInet(ADDRESSES[id]!)],
    ['host_id', native('uuid'), encodeUuid],
    ['data_center', native('text'), () => encodeText('dc1')],
    ['rack', native('text'), () => encodeText('rack1')],
    ['release_version', native('text'), () => encodeText('4.0.0')],
    ['partitioner', native('text'), () => encodeText('org.apache.cassandra.dht.Murmur3Partitioner')],
    ['schema_version', native('uuid'), () => encodeUuid(FIRST)],
    ['tokens', { kind: 'set', element: native('text'), frozen: true }, (id) => encodeList([encodeText(TOKENS[id]!)])],
  ];
  const metadata = columns.map(([name, type]) => ({ keyspace: 'system', table: 't', name, type }));
  return encodeRows(
    { columnCount: columns.length, columns: metadata },
    ids.map((id) => columns.map(([, , value]) => value(id))),
  );
}

async function addNode(id: NodeId): Promise<void> {
  const others = ([FIRST, SECOND] as NodeId[]).filter((other) => other !== id);
  const result = (body: Buffer) => ({ opcode: Opcode.RESULT, body });
  const node = await startStubNode(({ opcode, body }) => {
    if (opcode === Opcode.OPTIONS) {
      return { opcode: Opcode.SUPPORTED, body: encodeSupported(new Map([['PROTOCOL_VERSIONS', ['4/v4']]])) };
    }
    if (opcode === Opcode.REGISTER) return { opcode: Opcode.READY, body: Buffer.alloc(0) };
    if (opcode === Opcode.PREPARE) {
      const prepared = { markers: [], partitionKeyIndexes: [], result: { columnCount: 0, columns: [] } };
      return result(encodePrepared({ id: Buffer.from(id), ...prepared }, 4));
    }
    if (opcode === Opcode.EXECUTE) {
      served.push(id);
      return result(encodeVoid());
    }
    if (opcode !== Opcode.QUERY) return undefined;
    const text = readRequestLayout(opcode, body, 4).statements[0]!.text!;
    if (text.includes('system.local')) return result(rowsOf([id], 'broadcast_address'));
    if (text.includes('system.peers')) return result(rowsOf(others, 'peer'));
    if (!text.includes('system')) served.push(id);
    return result(encodeRows({ columnCount: 0, columns: [] }, []));
  });
  nodes.push(node);
  stub.nodes.set(id, node.port);
}

async function target(): Promise<ResolvedCluster> {
  const secureConnectBundle = join(folder, 'bundle.zip');
  writeFileSync(secureConnectBundle, stub.bundle());
  const config = migrationConfigSchema.parse({ origin: { contactPoints: ['a'] }, target: { secureConnectBundle } });
  return resolveCluster('target', config.target);
}

test('a session of load and validation reaches all nodes of a bundle by their host ids', async () => {
  const session = await createCqlSession(await target());
  for (let round = 0; round < 4; round++) await session.query('SELECT v FROM ks.t');
  expect(new Set(served)).toEqual(new Set([FIRST, SECOND]));
  expect(new Set(stub.asked)).toEqual(new Set([FIRST, SECOND]));
  await session.close();
});

test('a session goes on with the other nodes when one behind the bundle dies', async () => {
  const session = await createCqlSession(await target());
  stub.nodes.delete(FIRST);
  await nodes[0]!.close();
  await eventually(async () => {
    await session.query('SELECT v FROM ks.t');
    expect(served.at(-1)).toBe(SECOND);
  });
  await session.close();
});

test('a file that is no bundle is refused by its setting', async () => {
  const cluster = await target();
  writeFileSync(cluster.secureConnectBundle!, 'no archive');
  await expect(createCqlSession(cluster)).rejects.toThrow(/target\.secureConnectBundle: .*bundle\.zip is no bundle/);
});

test('the driver of the schema commands takes the bundle', async () => {
  // The driver asks the name server, which need not know localhost.
  stub.proxyAddress = `127.0.0.1:${stub.proxyPort}`;
  const client = await connectDriver(await target());
  await client.execute('SELECT v FROM ks.t', [], { prepare: false });
  expect(served).toHaveLength(1);
  await client.shutdown();
});

test.each([
  ['a session', (cluster: ResolvedCluster) => createCqlSession(cluster)],
  ['the driver', (cluster: ResolvedCluster) => connectDriver(cluster)],
])('%s that finds no node behind a bundle names the setting', async (_, connect) => {
  const cluster = await target();
  stub.proxyAddress = `127.0.0.1:${stub.proxyPort}`;
  await Promise.all(nodes.splice(0).map((node) => node.close()));
  await expect(connect({ ...cluster, requestTimeoutMs: 500 })).rejects.toThrow(
    /check target\.secureConnectBundle \(.*bundle\.zip\)/,
  );
});
