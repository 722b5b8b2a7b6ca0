import { afterEach, expect, test } from 'vitest';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';

let parts: TestProxy;

afterEach(() => parts.stop());

test('what is too large for the queue is measured in bytes, and marks its table', async () => {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs: 300 });
  const client = await parts.connect();
  parts.target.handlers.set(Opcode.QUERY, () => undefined);
  // Fewer characters than the limit has bytes, and more bytes.
  const text = `INSERT INTO big (id, v) VALUES (1, '${'ü'.repeat(200_000)}')`;
  await client.request(Opcode.QUERY, 0, encodeQuery(text, {}, 4), 20_000);
  await eventually(async () => expect((await parts.ledger.readTable('ks', 'big'))?.state).toBe('suspect'));
  expect(parts.queue.messages).toEqual([]);
});
