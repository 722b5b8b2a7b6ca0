import { afterEach, expect, test } from 'vitest';
import { bodyOf } from '#core/cql/frame.ts';
import { decodeSupported } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy, type TestProxyOptions } from '../../support/in-process-proxy.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const running: TestProxy[] = [];

afterEach(async () => {
  for (const parts of running.splice(0)) await parts.stop();
});

async function start(proxy: object, options: TestProxyOptions): Promise<TestProxy> {
  const parts = await startTestProxy(proxy, options);
  running.push(parts);
  return parts;
}

async function seenBy(parts: TestProxy) {
  const client = await parts.connect();
  const names = 'cluster_name, data_center, rack, release_version, cql_version, partitioner, native_protocol_version';
  const text = `SELECT ${names}, host_id, tokens FROM system.local`;
  const reply = decodeResult(bodyOf(await client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000)), 4);
  if (reply.kind !== 'rows') throw new Error(reply.kind);
  const supported = await client.request(Opcode.OPTIONS, 0, Buffer.alloc(0), 20_000);
  return {
    row: reply.rows[0]!.map((value) => value!.toString('latin1')),
    supported: decodeSupported(bodyOf(supported)),
  };
}

test('what drivers see is that of the origin in every phase, after a restart, and with a target of other names', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const topology = { sisters: ['127.0.0.1'], port: 9042 };
  const arrange: TestProxyOptions['arrange'] = (origin, target) => {
    origin.shown.data_center = 'old-dc';
    target.shown.data_center = 'new-dc';
  };
  const first = await start({ initialPhase: 'dual-sync', topology }, { ledger, maxVersion: 5, arrange });
  const before = await seenBy(first);
  expect(before.row.slice(0, 3)).toEqual(['mock', 'old-dc', 'rack7']);
  expect(before.supported.get('PROTOCOL_VERSIONS')).toEqual(['3/v3', '4/v4', '5/v5']);
  for (const phase of ['target-primary', 'target-only']) {
    const headers = { authorization: 'Bearer token-of-the-unit-tests', 'content-type': 'application/json' };
    const response = await fetch(`${first.adminUrl}/phase`, {
      method: 'PUT',
      headers,
      body: JSON.stringify({ phase }),
    });
    expect(response.status).toBe(200);
    await eventually(() => expect(first.proxy.status().phase).toBe(phase));
    expect(await seenBy(first)).toEqual(before);
  }
  await running.pop()!.stop();
  // The origin is given up now: nobody asks it, and what it said bounds what is offered all the same.
  const second = await start({ topology }, { ledger, maxVersion: 5, arrange });
  expect(await seenBy(second)).toEqual(before);
  expect(second.origin.seen).toEqual([]);
});

test('a target that is replaced by one without v5 lowers what every instance offers', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const first = await start({ instance: 'a' }, { ledger, maxVersion: 5 });
  expect((await seenBy(first)).supported.get('PROTOCOL_VERSIONS')).toContain('5/v5');
  const second = await start({ instance: 'b' }, { ledger, maxVersion: 4 });
  expect((await seenBy(second)).supported.get('PROTOCOL_VERSIONS')).toEqual(['3/v3', '4/v4']);
  expect((await ledger.readFace())?.offers).toMatchObject({ origin: { maxVersion: 4 }, target: { maxVersion: 4 } });
});

test('names that the configuration gives stand for those of the origin', async () => {
  const topology = { clusterName: 'app', datacenter: 'here', rack: 'r', releaseVersion: '3.11.0' };
  const ledger = createLedger(createMemoryLedgerStore());
  const { row } = await seenBy(await start({ topology }, { ledger }));
  expect(row.slice(0, 4)).toEqual(['app', 'here', 'r', '3.11.0']);
  expect((await ledger.readFace())?.shown.clusterName).toBe('mock');
});

test('a partitioner whose tokens can not be shown is refused by name, and nothing is kept of it', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const arrange: TestProxyOptions['arrange'] = (origin) => {
    origin.shown.partitioner = 'org.apache.cassandra.dht.ByteOrderedPartitioner';
  };
  await expect(startTestProxy({}, { ledger, arrange })).rejects.toThrow(/ByteOrderedPartitioner/);
  expect(await ledger.readFace()).toBeUndefined();
});
