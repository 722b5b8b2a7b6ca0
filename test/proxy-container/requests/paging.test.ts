import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, HEADER_BYTES } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout } from '#core/cql/request-layout.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, encodeRows } from '#core/cql/result-message.ts';
import { readPagingMark } from '../../../proxy-container/src/requests/paging.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { forcePhaseOver } from '../../support/force-phase.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import type { MockCluster } from '../../support/mock-cluster.ts';

let parts: TestProxy;
let client: UpstreamConnection;
/** Which cluster was asked for which page. */
let asked: { cluster: string; state: string | undefined }[];

/** Each cluster has pages without end, whose states are its name and a number. */
async function begin(phase: string, version: 3 | 4 | 5): Promise<void> {
  parts = await startTestProxy({ initialPhase: phase, reads: { samplePercent: 0 } }, { maxVersion: 5 });
  client = await parts.connect(version);
  asked = [];
  for (const name of ['origin', 'target'] as const) serve(parts[name], name, version);
}

function serve(cluster: MockCluster, name: string, version: number): void {
  for (const opcode of [Opcode.QUERY, Opcode.EXECUTE]) {
    cluster.handlers.set(opcode, ({ body }) => {
      const state = readRequestLayout(opcode, body, version).pagingState?.toString();
      asked.push({ cluster: name, state });
      const pagingState = Buffer.from(`${name} ${asked.length}`);
      const columns = [{ keyspace: 'ks', table: 't', name: 'v', type: { kind: 'native', name: 'text' } as const }];
      return {
        opcode: Opcode.RESULT,
        body: encodeRows({ columnCount: 1, columns, pagingState }, [[Buffer.from(name)]]),
      };
    });
  }
}

afterEach(() => parts?.stop());

async function setPhase(phase: string): Promise<void> {
  await forcePhaseOver(parts.adminUrl, 'token-of-the-unit-tests', phase);
}

async function prepare(version: number): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare('SELECT v FROM t', version), 20_000);
  const result = decodeResult(bodyOf(reply), version);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  return result.prepared.id;
}

/** Reads a page, by text or prepared. */
async function page(version: number, id: Buffer | undefined, pagingState?: Buffer): Promise<Buffer> {
  const parameters = { pageSize: 1, ...(pagingState ? { pagingState } : {}) };
  const reply = id
    ? await client.request(Opcode.EXECUTE, 0, encodeExecute(id, parameters, version), 20_000)
    : await client.request(Opcode.QUERY, 0, encodeQuery('SELECT v FROM t', parameters, version), 20_000);
  const result = decodeResult(reply.subarray(HEADER_BYTES), version);
  if (result.kind !== 'rows' || !result.metadata.pagingState) throw new Error('no page');
  return result.metadata.pagingState;
}

const refusal = async (state: Buffer): Promise<number> => {
  const body = encodeQuery('SELECT v FROM t', { pageSize: 1, pagingState: state }, 4);
  return decodeError(bodyOf(await client.request(Opcode.QUERY, 0, body, 20_000)), 4).code;
};

test.each([3, 4, 5] as const)(
  'an open page stays with its cluster when the other one answers, v%i',
  async (version) => {
    await begin('dual-sync', version);
    for (const id of [undefined, await prepare(version)]) {
      await setPhase('dual-sync');
      asked = [];
      const first = await page(version, id);
      await setPhase('target-primary');
      const second = await page(version, id, first);
      await page(version, id, second);
      await page(version, id);
      expect(asked).toEqual([
        { cluster: 'origin', state: undefined },
        { cluster: 'origin', state: 'origin 1' },
        { cluster: 'origin', state: 'origin 2' },
        { cluster: 'target', state: undefined },
      ]);
    }
  },
);

test('pages of the target go on there when the origin answers again, and end with its part in the migration', async () => {
  await begin('target-primary', 4);
  const first = await page(4, undefined);
  await setPhase('dual-sync');
  const second = await page(4, undefined, first);
  expect(asked.map(({ cluster }) => cluster)).toEqual(['target', 'target']);
  await setPhase('dual-async');
  await setPhase('origin-only');
  expect(await refusal(second)).toBe(ErrorCode.OVERLOADED);
  expect(asked).toHaveLength(2);
});

test('in target-only a page of the origin is refused with an error that may be retried', async () => {
  await begin('target-primary', 4);
  parts.origin.handlers.clear();
  const state = await page(4, undefined);
  await setPhase('target-only');
  await page(4, undefined, state);
  asked = [];
  expect(await refusal(Buffer.from('made before there was a proxy'))).toBe(ErrorCode.OVERLOADED);
  expect(asked).toEqual([]);
});

test('a state from before the proxy is one of the origin, and reaches it as it is', async () => {
  await begin('target-primary', 4);
  // The last ones end like a mark, and are none.
  const states = ['an old state', '\u0001', 'x'.repeat(70_000)].map((text) => Buffer.from(text));
  states.push(Buffer.from([0xa7, 0x01]), Buffer.from([1, 2, 3, 0, 0, 0, 0, 0xa7, 0x02]));
  for (const state of states) {
    asked = [];
    await page(4, undefined, state);
    expect(asked).toEqual([{ cluster: 'origin', state: state.toString() }]);
  }
});

test('an empty state asks for no page', async () => {
  expect(readPagingMark(Buffer.alloc(0))).toBeUndefined();
  await begin('target-primary', 4);
  await page(4, undefined, Buffer.alloc(0));
  expect(asked[0]?.cluster).toBe('target');
});
