import { expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { Expiry } from '../../../proxy-container/src/requests/expiry.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import { readClientRequest } from '../../../proxy-container/src/requests/read-request.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';

const SLAB_BYTES = 64 * 1024;

test.each(['INSERT INTO t (id, v) VALUES (1, 2) USING TIMESTAMP 5', 'INSERT INTO t (id, v) VALUES (1, now())'])(
  '%s: what waits for the shadow keeps none of the memory that it was read with',
  (text) => {
    const header = { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.QUERY };
    const sent = encodeFrame(header, encodeQuery(text, { consistency: 1, values: [], timestampMicros: 5n }, 4));
    const slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    sent.copy(slab, 1000);
    const context = {
      prepared: new PreparedStatements(),
      timestamps: new TimestampGenerator(),
      expiry: new Expiry({ known: () => undefined, of: async () => undefined, generation: 0 }),
      targetConsistency: new Map(),
    };
    const read = readClientRequest(slab.subarray(1000, 1000 + sent.length), 4, 'ks', context);
    if (read.kind !== 'request') throw new Error(read.kind);
    const { request } = read;
    const before = Buffer.from(request.frameFor('target'));
    request.detach();
    slab.fill(0);
    expect(request.frameFor('target')).toEqual(before);
    expect(request.frameFor('target').buffer.byteLength).toBeLessThan(SLAB_BYTES);
    expect(request.byteCount).toBe(sent.length);
    expect(request.timestampMicros).toBe(5n);
  },
);
