import { expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeExecute } from '#core/cql/request-messages.ts';
import { encodeVoid } from '#core/cql/result-message.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import { PhaseGate } from '../../../proxy-container/src/phase/phase-gate.ts';
import { Expiry } from '../../../proxy-container/src/requests/expiry.ts';
import { PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import type { RequestContext } from '../../../proxy-container/src/requests/request-context.ts';
import { TimestampGenerator } from '../../../proxy-container/src/writes/timestamps.ts';
import {
  type UsualClient,
  UsualWrites,
  type UsualWritesOptions,
} from '../../../proxy-container/src/writes/usual-write.ts';
import type { UsualWrite } from '../../../proxy-container/src/writes/write-in-flight.ts';

const SLAB_BYTES = 64 * 1024;

test('a write that the primary does not answer leaves the memory that it shares with those that are answered', () => {
  const prepared = new PreparedStatements();
  const entry = prepared.entryOf('INSERT INTO ks.t (id, v) VALUES (?, ?)', 'ks');
  entry.upstreamIds.origin = Buffer.from(entry.id);
  entry.mayWriteList = false;
  const context: RequestContext = {
    prepared,
    timestamps: new TimestampGenerator(),
    expiry: new Expiry({ known: () => undefined, of: async () => undefined, generation: 0 }),
    targetConsistency: new Map(),
  };
  let nowMs = 10_000;
  const options: Partial<UsualWritesOptions> = {
    context,
    gate: new PhaseGate('origin-only', 1),
    counters: new Counters(),
    flusher: { now: () => nowMs } as UsualWritesOptions['flusher'],
    requestTimeoutMs: { origin: 5000, target: 5000 },
    filter: () => ({ isEmpty: true }) as ReturnType<UsualWritesOptions['filter']>,
  };
  const writes = new UsualWrites(options as UsualWritesOptions);
  const sent: UsualWrite[] = [];
  const connection = {
    bufferedBytes: 0,
    sendBytes: (_bytes: Buffer, _start: number, _end: number, write: UsualWrite) => sent.push(write) > 0,
  };
  const client = {
    version: 4,
    upstreams: { keyspace: 'ks', pool: () => ({ pick: () => connection }) },
    begin: () => 1,
    send: () => undefined,
    finish: () => undefined,
  } as unknown as UsualClient;
  const header = { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.EXECUTE };
  const execute = (id: number): UsualWrite => {
    const frame = encodeFrame(header, encodeExecute(entry.id, { values: [Buffer.of(0, 0, 0, id)] }, 4));
    expect(writes.take(client, frame, 0, frame.length)).toBe(true);
    return sent.at(-1)!;
  };
  const applied = encodeFrame({ ...header, isResponse: true, opcode: Opcode.RESULT }, encodeVoid());
  const memoryOf = (write: UsualWrite) => write.toRequest(context, 4).frameFor('origin').buffer.byteLength;

  const hanging = execute(1);
  const before = Buffer.from(hanging.toRequest(context, 4).frameFor('origin'));
  expect(memoryOf(hanging)).toBe(SLAB_BYTES);
  nowMs += 1500;
  execute(2).onReply(applied);
  expect(memoryOf(hanging)).toBe(hanging.byteCount);
  expect(hanging.toRequest(context, 4).frameFor('origin')).toEqual(before);
});
