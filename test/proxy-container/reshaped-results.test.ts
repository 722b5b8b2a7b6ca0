import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode, QueryFlag } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare } from '#core/cql/request-messages.ts';
import { decodeResult, encodePrepared } from '#core/cql/result-message.ts';
import { startTestProxy, type TestProxy } from '../support/in-process-proxy.ts';

let parts: TestProxy;
let columns = ['id', 'v'];

beforeAll(async () => {
  parts = await startTestProxy({}, { maxVersion: 5 });
});

afterAll(() => parts.stop());

/** What SELECT * of the table is now; the mock keeps the text under that id. */
function prepareOn(cluster: TestProxy['origin'], version: number): void {
  cluster.handlers.set(Opcode.PREPARE, ({ text }) => {
    const table = { keyspace: 'ks', table: 't', type: { kind: 'native', name: 'int' } } as const;
    const prepared = {
      id: createHash('md5').update(`mock ${text}`).digest(),
      markers: [],
      partitionKeyIndexes: [],
      result: { columnCount: columns.length, columns: columns.map((name) => ({ ...table, name })) },
    };
    return { opcode: Opcode.RESULT, body: encodePrepared(prepared, version) };
  });
}

test.each([3, 4, 5])('v%i: an answer brings its metadata once the columns are others', async (version) => {
  const { origin } = parts;
  prepareOn(origin, version);
  const client = await parts.connect(version);
  const flags = (): number => {
    const { body } = origin.seen.findLast(({ opcode }) => opcode === Opcode.EXECUTE)!;
    const idEnd = 2 + body.readUInt16BE(0);
    const metadataIdEnd = version >= 5 ? idEnd + 2 + body.readUInt16BE(idEnd) : idEnd;
    return version >= 5 ? body.readInt32BE(metadataIdEnd + 2) : body[metadataIdEnd + 2]!;
  };
  const text = `SELECT * FROM t_${version}`;
  const prepare = await client.request(Opcode.PREPARE, 0, encodePrepare(text, version), 20_000);
  const result = decodeResult(bodyOf(prepare), version);
  if (result.kind !== 'prepared') throw new Error(`it was answered with ${result.kind}`);
  const { id } = result.prepared;
  const execute = async () => {
    const body = encodeExecute(id, { skipMetadata: true }, version, Buffer.alloc(16));
    return opcodeOf(await client.request(Opcode.EXECUTE, 0, body, 20_000));
  };
  expect(await execute()).toBe(Opcode.RESULT);
  expect(flags() & QueryFlag.SKIP_METADATA).toBe(QueryFlag.SKIP_METADATA);
  columns = [...columns, `added_${version}`];
  origin.forgetPrepared();
  // The request itself that found the statement forgotten, and those that follow; v5 tells by an id of the metadata.
  for (let round = 0; round < 2; round++) {
    expect(await execute()).toBe(Opcode.RESULT);
    expect(flags() & QueryFlag.SKIP_METADATA).toBe(version >= 5 ? QueryFlag.SKIP_METADATA : 0);
  }
});
