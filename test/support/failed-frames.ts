import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import type { ChunkWrite } from '../../proxy-container/src/journal/chunk.ts';

const HEADER_BYTES = 9;

/** A failed INSERT, as the journal is handed it; its write time tells it from others. */
export function failedInsert(
  timestampMicros: number,
  more: Partial<ChunkWrite> & { readonly value?: string } = {},
): ChunkWrite {
  const { value = 'v', ...rest } = more;
  const table = rest.tables?.[0]?.table ?? 't';
  const options = { values: [Buffer.from(value)], timestampMicros: BigInt(timestampMicros) };
  const body = encodeQuery(`INSERT INTO ks.${table} (id, v) VALUES (1, ?)`, options, 4);
  return {
    destination: 'target',
    isReadBack: false,
    version: 4,
    opcode: Opcode.QUERY,
    epoch: 2,
    failedAtMs: Date.now(),
    takenAtSeconds: 1_700_000_000,
    timestampMicros: undefined,
    reason: 'the shadow refused it',
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table }],
    statements: [{ text: undefined, types: undefined }],
    frame: encodeFrame({ version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY }, body),
    offset: HEADER_BYTES,
    ...rest,
  };
}
