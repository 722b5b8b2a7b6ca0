import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import {
  decodeBigint,
  decodeInet,
  decodeInt,
  decodeList,
  decodeText,
  decodeUuid,
  encodeInet,
  encodeInt,
  encodeList,
  encodeText,
} from '#core/cql/value-codec.ts';
import { hostAt, hostIdOf } from '../../../proxy-container/src/topology/host.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';

let parts: TestProxy;
let clients: Record<number, UpstreamConnection>;

beforeAll(async () => {
  const sisters = ['127.0.0.1', '127.0.55.2:9055', '[fd00::7]:9056', '127.0.55.2:9057'];
  parts = await startTestProxy({ topology: { sisters, port: 9042 } }, { maxVersion: 5 });
  clients = { 3: await parts.connect(3), 4: await parts.connect(4), 5: await parts.connect(5) };
});
afterAll(() => parts.stop());

const ask = (text: string, parameters: QueryParameters = {}, version = 4): Promise<Buffer> =>
  clients[version]!.request(Opcode.QUERY, 0, encodeQuery(text, parameters, version), 20_000);

async function rows(text: string, parameters: QueryParameters = {}, version = 4) {
  const reply = await ask(text, parameters, version);
  if (opcodeOf(reply) === Opcode.ERROR) throw new Error(decodeError(bodyOf(reply), version).message);
  const result = decodeResult(bodyOf(reply), version);
  if (result.kind !== 'rows') throw new Error(result.kind);
  return { names: result.metadata.columns?.map(({ name }) => name), rows: result.rows };
}

const inets = async (text: string, parameters: QueryParameters = {}, version = 4) =>
  (await rows(text, parameters, version)).rows.map(([value]) => decodeInet(value!));

test.each([3, 4, 5])(
  'v%i: system.local is the address that the client reached, with the names of the origin',
  async (version) => {
    const found = await rows(
      'SELECT key, rpc_address, data_center, rack, cluster_name, release_version, partitioner, tokens, host_id FROM system.local',
      {},
      version,
    );
    const [key, address, ...texts] = found.rows[0]!;
    expect(decodeText(key!)).toBe('local');
    expect(decodeInet(address!)).toBe('127.0.0.1');
    expect(texts.slice(0, 4).map((value) => decodeText(value!))).toEqual(['dc1', 'rack7', 'mock', '4.1.0']);
    const tokens = decodeList(texts[5]!).map(decodeText);
    expect(tokens).toEqual([...tokens].sort());
    expect(new Set(tokens).size).toBe(128);
    expect(decodeUuid(texts[6]!)).toBe(hostIdOf(hostAt('127.0.0.1', 9042)));
  },
);

test.each([3, 4, 5])('v%i: peers_v2 has the sisters and not the proxy itself', async (version) => {
  const found = await rows('SELECT native_address, native_port, host_id FROM system.peers_v2', {}, version);
  expect(found.rows.map(([address, port]) => `${decodeInet(address!)} ${decodeInt(port!)}`)).toEqual(
    ['fd00:0:0:0:0:0:0:7 9056', '127.0.55.2 9055', '127.0.55.2 9057'].sort(
      (a, b) => (a.startsWith('1') ? -1 : 1) - (b.startsWith('1') ? -1 : 1),
    ),
  );
  expect(decodeUuid(found.rows[0]![2]!)).toBe(hostIdOf(hostAt('127.0.55.2', 9055)));
});

test('peers, which has no ports, has each address once', async () => {
  expect(await inets('SELECT peer FROM system.peers')).toEqual(['127.0.55.2', 'fd00:0:0:0:0:0:0:7']);
});

test('SELECT * has the columns of a cluster, in its order', async () => {
  expect((await rows('SELECT * FROM system.peers')).names).toEqual([
    'peer',
    'data_center',
    'host_id',
    'preferred_ip',
    'rack',
    'release_version',
    'rpc_address',
    'schema_version',
    'tokens',
  ]);
});

test('keys, aliases, limits and counts hold', async () => {
  expect(await inets("SELECT peer FROM system.peers WHERE peer = '127.0.55.2'")).toEqual(['127.0.55.2']);
  expect(await inets('SELECT peer FROM system.peers WHERE peer = ?', { values: [encodeInet('fd00::7')] })).toHaveLength(
    1,
  );
  const list = encodeList([encodeInet('127.0.0.9'), encodeInet('127.0.55.2')]);
  expect(await inets('SELECT peer FROM system.peers WHERE peer IN ?', { values: [list] })).toEqual(['127.0.55.2']);
  const named = { values: [encodeInt(9057), encodeInet('127.0.55.2')], names: ['port', 'address'] };
  expect(
    await inets('SELECT peer FROM system.peers_v2 WHERE peer = :address AND peer_port = :port', named),
  ).toHaveLength(1);
  expect(await inets('SELECT peer FROM system.peers LIMIT ?', { values: [encodeInt(1)] })).toHaveLength(1);
  expect(await inets('SELECT DISTINCT peer FROM system.peers_v2')).toEqual(['127.0.55.2', 'fd00:0:0:0:0:0:0:7']);
  const aliased = await rows('SELECT rpc_address AS a, rack AS "Rack" FROM system.local');
  expect(aliased.names).toEqual(['a', 'Rack']);
  const count = await rows('SELECT count(*) FROM system.peers_v2');
  expect(count.names).toEqual(['count']);
  expect(decodeBigint(count.rows[0]![0]!)).toBe(3n);
  const none = await rows("SELECT count(preferred_ip) AS n FROM system.peers WHERE peer = '127.0.55.2'");
  expect([none.names, decodeBigint(none.rows[0]![0]!)]).toEqual([['n'], 0n]);
});

test('SELECT JSON writes what a cluster writes', async () => {
  const found = await rows('SELECT JSON peer, peer_port AS "Port", preferred_ip FROM system.peers_v2 LIMIT 1');
  expect(found.names).toEqual(['[json]']);
  expect(decodeText(found.rows[0]![0]!)).toBe(
    String.raw`{"peer": "127.0.55.2", "\"Port\"": 9055, "preferred_ip": null}`,
  );
});

test.each([3, 4, 5])('v%i: prepared, with markers, without metadata', async (version) => {
  const client = clients[version]!;
  const text = 'SELECT peer, tokens FROM system.peers WHERE peer = ? LIMIT ?';
  const prepared = decodeResult(
    bodyOf(await client.request(Opcode.PREPARE, 0, encodePrepare(text, version), 20_000)),
    version,
  );
  if (prepared.kind !== 'prepared') throw new Error(prepared.kind);
  const { id, markers, partitionKeyIndexes, result, resultMetadataId } = prepared.prepared;
  expect(markers.map(({ name }) => name)).toEqual(['peer', '[limit]']);
  expect(partitionKeyIndexes).toEqual(version >= 4 ? [0] : []);
  expect(result.columns?.map(({ name }) => name)).toEqual(['peer', 'tokens']);
  const values = [encodeInet('fd00::7'), encodeInt(5)];
  const execute = async (metadataId?: Buffer) => {
    const body = encodeExecute(id, { values, skipMetadata: true }, version, metadataId);
    const answer = decodeResult(bodyOf(await client.request(Opcode.EXECUTE, 0, body, 20_000)), version);
    if (answer.kind !== 'rows') throw new Error(answer.kind);
    return answer;
  };
  const answer = await execute(resultMetadataId);
  expect(answer.metadata.columns).toBeUndefined();
  expect(answer.rows).toHaveLength(1);
  if (version < 5) return;
  const changed = await execute(Buffer.alloc(16));
  expect(changed.metadata.newMetadataId).toEqual(resultMetadataId);
  expect(changed.metadata.columns).toHaveLength(2);
});

test('what a cluster refuses is refused with its words', async () => {
  await expect(rows('SELECT nothing FROM system.peers')).rejects.toThrow('Undefined column name nothing');
  await expect(rows("SELECT peer FROM system.peers WHERE peer = 'x'")).rejects.toThrow('Invalid string constant');
  await expect(rows('SELECT peer FROM system.peers WHERE peer = ?')).rejects.toThrow('1 expected, 0 given');
  await expect(rows('SELECT peer FROM system.peers LIMIT 0')).rejects.toThrow('strictly positive');
  await expect(rows('SELECT DISTINCT rack FROM system.peers')).rejects.toThrow('partition key');
  await expect(rows('SELECT toJson(peer) FROM system.peers')).rejects.toThrow('The proxy itself answers');
});

test('functions on system.local are for the primary, and the proxy stands in its answer', async () => {
  const text = (name: string) => ({
    keyspace: 'system',
    table: 'local',
    name,
    type: { kind: 'native', name: 'text' } as const,
  });
  parts.origin.localAnswer = encodeRows({ columnCount: 2, columns: [text('now'), text('cluster_name')] }, [
    [encodeText('an instant'), encodeText('of the origin alone')],
  ]);
  const found = await rows('SELECT now() AS now, cluster_name FROM system.local');
  expect(found.rows[0]!.map((value) => decodeText(value!))).toEqual(['an instant', 'mock']);
  expect(
    opcodeOf(await clients[4]!.request(Opcode.PREPARE, 0, encodePrepare('SELECT now() FROM system.local', 4), 20_000)),
  ).toBe(Opcode.RESULT);
});

test('nothing but that ever reaches a cluster', () => {
  const asked = [...parts.origin.seen, ...parts.target.seen].filter(({ text }) => /system\.(local|peers)/.test(text));
  expect(asked.filter(({ text }) => !text.includes('now()'))).toEqual([]);
});

test('an answer is never longer than the columns of the table ask for', async () => {
  const many = (count: number, what: string) => Array.from({ length: count }, () => what).join(', ');
  await expect(rows(`SELECT ${many(60_000, 'tokens')} FROM system.local`)).rejects.toThrow(/at most/);
  await expect(rows(`SELECT peer FROM system.peers WHERE peer IN (${many(50_000, "'127.0.0.1'")})`)).rejects.toThrow(
    /at most/,
  );
  const list = encodeList(Array.from({ length: 10_000 }, () => encodeInet('127.0.0.1')));
  await expect(rows('SELECT peer FROM system.peers WHERE peer IN ?', { values: [list] })).rejects.toThrow(/too long/);
  expect((await rows(`SELECT ${many(20, 'key')} FROM system.local`)).rows[0]).toHaveLength(20);
});
