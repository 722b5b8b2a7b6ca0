import { expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { ProtocolError } from '#core/errors.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import { NOTHING_NOTED } from '../../../proxy-container/src/in-flight/in-flight-port.ts';
import { WriteNotes } from '../../../proxy-container/src/in-flight/write-notes.ts';
import { PhaseGate } from '../../../proxy-container/src/phase/phase-gate.ts';
import { Expiry } from '../../../proxy-container/src/requests/expiry.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import { readClientRequest } from '../../../proxy-container/src/requests/read-request.ts';
import type { SchemaFacts } from '../../../proxy-container/src/schema/schema-facts.ts';
import type { SessionUpstreams } from '../../../proxy-container/src/session/session-upstreams.ts';
import type { FailedWrites } from '../../../proxy-container/src/writes/failed-writes.ts';
import { ListOrder } from '../../../proxy-container/src/writes/list-order.ts';
import { ShadowWriter } from '../../../proxy-container/src/writes/shadow-writer.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';

test('a copy whose place among others can not be read is a failed write, and nothing waits for it', () => {
  const gate = new PhaseGate('dual-async', 1);
  const kept: string[] = [];
  const counters = new Counters();
  const shadows = new ShadowWriter({
    notes: new WriteNotes(NOTHING_NOTED, {} as SchemaFacts),
    timeoutMs: 1000,
    gate,
    failedWrites: {
      add: (_, cluster, epoch) => kept.push(`${cluster} ${epoch}`),
    } as Partial<FailedWrites> as FailedWrites,
    lists: new ListOrder(),
    facts: {
      known: () => {
        throw new ProtocolError('the body ends too soon');
      },
    } as Partial<SchemaFacts> as SchemaFacts,
    counters,
    logger: createLogger('test', 'silent'),
  });
  const header = { version: 4, isResponse: false, flags: 0, streamId: 1, opcode: Opcode.QUERY };
  const frame = encodeFrame(header, encodeQuery('UPDATE t SET l = l + [1] WHERE id = 1', {}, 4));
  const context = {
    prepared: new PreparedStatements(),
    timestamps: new TimestampGenerator(),
    expiry: new Expiry({ known: () => undefined, of: async () => undefined, generation: 0 }),
    targetConsistency: new Map(),
  };
  const read = readClientRequest(frame, 4, 'ks', context);
  if (read.kind !== 'request') throw new Error(read.kind);
  shadows.send({} as SessionUpstreams, 'target', read.request, 1);
  expect(kept).toEqual(['target 1']);
  expect([gate.inFlight, counters.shadowInFlight, counters.shadowFailed]).toEqual([0, 0, 1]);
});
