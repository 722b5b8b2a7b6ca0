import { afterEach, expect, test } from 'vitest';
import { NodePool } from '#adapters/cql/node-pool.ts';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { ClusterUnreachableError } from '#core/errors.ts';
import { eventually } from '../../support/eventually.ts';
import { startStubNode } from '../../support/stub-node.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** A pool of one connection with room for one request, to a node that answers when it is told to. */
async function poolWith(maxWaitMs: number): Promise<{ pool: NodePool; unanswered: (() => void)[] }> {
  // The only request in flight has the only stream id.
  const header = { version: 4, isResponse: true, flags: 0, streamId: 0, opcode: Opcode.RESULT };
  const unanswered: (() => void)[] = [];
  const node = await startStubNode(({ opcode, body, socket }) => {
    const answer = Buffer.from(body);
    if (opcode === Opcode.QUERY) unanswered.push(() => socket.write(encodeFrame(header, answer)));
    return undefined;
  });
  const pool = new NodePool(
    {
      node: { cluster: 'origin', host: '127.0.0.1', port: node.port },
      connectTimeoutMs: 60_000,
      requestTimeoutMs: 60_000,
      protocolVersion: 4,
      minProtocolVersion: 4,
      maxInFlight: 1,
    },
    { size: 1, maxWaitMs },
  );
  closing.push(
    () => node.close(),
    () => pool.close(),
  );
  return { pool, unanswered };
}

test('a request waits for room on a full connection, and those that wait get their turns in order', async () => {
  const { pool, unanswered } = await poolWith(60_000);
  const done: string[] = [];
  const requests = ['first', 'second', 'third'].map(async (name) => {
    const { frame } = await pool.request(Opcode.QUERY, Buffer.from(name), () => undefined);
    done.push(frame.subarray(9).toString());
  });
  for (const count of [1, 2, 3]) {
    await eventually(() => expect(unanswered).toHaveLength(count));
    unanswered.at(-1)?.();
    await eventually(() => expect(done).toHaveLength(count));
  }
  await Promise.all(requests);
  expect(done).toEqual(['first', 'second', 'third']);
});

test('a request that finds no room in time fails unsent, and names the settings', async () => {
  const { pool, unanswered } = await poolWith(20);
  const first = pool.request(Opcode.QUERY, Buffer.from('first'), () => undefined);
  await eventually(() => expect(unanswered).toHaveLength(1));
  let wasSent = false;
  const second = pool.request(Opcode.QUERY, Buffer.from('second'), () => {
    wasSent = true;
  });
  await expect(second).rejects.toThrow(ClusterUnreachableError);
  await expect(second).rejects.toThrow(/no room .* within 20 ms \(maxWaitMs\) on 1 connections \(connectionsPerHost\)/);
  expect(wasSent).toBe(false);
  unanswered[0]?.();
  await first;
});

test('who waits when the pool is closed is told at once', async () => {
  const { pool, unanswered } = await poolWith(60_000);
  const requests = ['first', 'second', 'third'].map((name) =>
    pool.request(Opcode.QUERY, Buffer.from(name), () => undefined),
  );
  const outcomes = Promise.allSettled(requests);
  await eventually(() => expect(unanswered).toHaveLength(1));
  pool.close();
  expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
});
