import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { encodeRows } from '#core/cql/result-message.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import type { MockReply } from '../../support/mock-cluster.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringshift-filter-'));
const path = join(folder, 'filter-rules.yaml');
let parts: TestProxy;
let client: UpstreamConnection;

async function begin(phase: string, shadowTimeoutMs = 15_000): Promise<void> {
  writeFileSync(path, 'tenants: { columns: [tenant], exclude: [kept] }');
  parts = await startTestProxy({
    initialPhase: phase,
    filterRules: path,
    shadowTimeoutMs,
    reads: { samplePercent: 100 },
  });
  client = await parts.connect();
  const column = { keyspace: 'ks', table: 't', name: 'v', type: { kind: 'native', name: 'text' } as const };
  for (const cluster of [parts.origin, parts.target]) {
    cluster.handlers.set(Opcode.QUERY, () => ({
      opcode: Opcode.RESULT,
      body: encodeRows({ columnCount: 1, columns: [column] }, []),
    }));
  }
}

afterEach(async () => {
  await parts?.stop();
  rmSync(path, { force: true });
});

const query = (text: string): Promise<Buffer> => client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);

test('in target-primary an excluded tenant is read from the origin, one of both clusters is refused', async () => {
  await begin('target-primary');
  await query("SELECT v FROM t WHERE tenant = 'kept'");
  expect(parts.target.seen).toEqual([]);
  expect(parts.origin.seen).toHaveLength(1);
  const mixed = await query("SELECT v FROM t WHERE tenant IN ('kept', 'moved')");
  expect(decodeError(bodyOf(mixed), 4).code).toBe(ErrorCode.INVALID);
  await query("SELECT v FROM t WHERE tenant = 'moved'");
  expect(parts.target.seen).toHaveLength(1);
});

test('while the origin answers a read may name any tenants, and only those of both clusters are compared', async () => {
  await begin('dual-sync');
  expect(opcodeOf(await query("SELECT v FROM t WHERE tenant IN ('kept', 'moved')"))).toBe(Opcode.RESULT);
  expect(opcodeOf(await query('SELECT v FROM t'))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.proxy.status().reads.notCompared.filtered).toBe(2));
  await query("SELECT v FROM t WHERE tenant = 'kept'");
  await query("SELECT v FROM t WHERE tenant = 'moved'");
  await eventually(() => expect(parts.proxy.status().reads).toMatchObject({ copies: 1, equal: 1 }));
  expect(parts.target.seen).toHaveLength(1);
});

test('a difference that was seen under other rules is not judged: what they exclude gets no copies any more', async () => {
  await begin('dual-sync', 1000);
  parts.target.handlers.set(Opcode.QUERY, () => rowsOf('other'));
  await query("SELECT v FROM t WHERE tenant = 'moved'");
  await eventually(() => expect(parts.proxy.status().reads).toMatchObject({ copies: 1, copiesInFlight: 0 }));
  writeFileSync(path, 'tenants: { columns: [tenant], exclude: [kept, moved] }');
  await parts.proxy.subject.reloadFilters();
  await eventually(() => expect(parts.proxy.status().reads).toMatchObject({ unsettled: 1, different: 0 }));
  expect(parts.proxy.status().failedWrites.suspectMarks).toBe(0);
});

function rowsOf(...values: string[]): MockReply {
  const column = { keyspace: 'ks', table: 't', name: 'v', type: { kind: 'native', name: 'text' } as const };
  const cells = values.map((value) => [Buffer.from(value)]);
  return { opcode: Opcode.RESULT, body: encodeRows({ columnCount: 1, columns: [column] }, cells) };
}
