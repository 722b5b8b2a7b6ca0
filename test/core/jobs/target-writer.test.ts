import { expect, test } from 'vitest';
import { RequestTimeoutError, ServerError } from '#core/errors.ts';
import { TargetWriter, type TargetWriterOptions, type WriteChunk } from '#core/jobs/target-writer.ts';
import type { BoundStatement, ToStatements } from '#core/merge/statements.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { CqlSession, RequestOptions } from '#core/ports.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

interface Sent {
  readonly texts: string[];
  readonly options: RequestOptions;
}

function setUp(
  statements: ToStatements,
  answer: (sent: Sent, number: number) => Promise<void> | void,
  bytesPerSecond = 1e12,
) {
  const sent: Sent[] = [];
  const slept: number[] = [];
  let now = 1_000_000;
  const send = async (texts: string[], options: RequestOptions = {}) => {
    const request = { texts, options };
    sent.push(request);
    await answer(request, sent.length);
    return { columns: [], rows: [] };
  };
  const target: CqlSession = {
    protocolVersion: 5,
    query: (text) => send([text]),
    prepare: async (text) => ({ text, id: new Uint8Array(1) }),
    execute: (statement, _, options) => send([statement.text], options),
    batch: async (_, entries, options) => {
      await send(
        entries.map(({ statement }) => (typeof statement === 'string' ? statement : statement.text)),
        options,
      );
    },
    close: async () => undefined,
  };
  const ports = {
    target,
    clock: { nowMillis: () => now },
    logger: silent,
    sleep: async (ms: number) => {
      slept.push(ms);
      now += ms;
    },
  };
  const options: TargetWriterOptions = {
    toStatements: statements,
    consistency: Consistency.LOCAL_QUORUM,
    exactTimes: true,
    bytesPerSecond,
    listAttempt: 100,
  };
  return { writer: new TargetWriter(ports, options), sent, slept };
}

const statement = (text: string, nowInSeconds?: number, byteLength = 10): BoundStatement => ({
  text,
  values: [],
  nowInSeconds,
  byteLength,
});
const chunk = (tokenBefore?: bigint): WriteChunk => ({
  partitionKey: [],
  routingKey: new Uint8Array(1),
  tokenBefore,
  writes: [{ kind: 'deletePartition', timestampMicros: 1n, localDeletionTimeSeconds: 1 }],
});

test('statements of one partition are one batch for each now_in_seconds; those without one join any', async () => {
  const { writer, sent } = setUp(
    () => [statement('a', 5), statement('b'), statement('c', 6), statement('d', 5)],
    () => undefined,
  );
  await writer.write(chunk());
  await writer.finish();
  expect(sent.map(({ texts, options }) => [texts, options.nowInSeconds])).toEqual([
    [['a', 'd', 'b'], 5],
    [['c'], 6],
  ]);
});

test('an overloaded target is asked again later, and each attempt writes lists a microsecond later', async () => {
  const attempts: number[] = [];
  const { writer, sent, slept } = setUp(
    (_, context) => {
      attempts.push(context.listAttempt);
      return [statement('a')];
    },
    (_, number) => {
      if (number === 1) throw new ServerError('overloaded', 0x1001, true);
      if (number === 2) throw new RequestTimeoutError('no answer');
    },
  );
  const before = writer.limit;
  await writer.write(chunk());
  await writer.finish();
  expect(sent).toHaveLength(3);
  expect(slept).toEqual([100, 200]);
  expect(attempts).toEqual([100, 101, 102]);
  expect(writer.limit).toBeLessThanOrEqual(before / 4 + 1);
});

test('what can not succeed later fails at once, and stops the chunks that follow', async () => {
  const { writer, sent } = setUp(
    () => [statement('a')],
    () => {
      throw new ServerError('unknown column', 0x2200, false);
    },
  );
  await writer.write(chunk());
  await expect(writer.finish()).rejects.toThrow('unknown column');
  await expect(writer.write(chunk())).rejects.toThrow('unknown column');
  expect(sent).toHaveLength(1);
});

test('the completed token waits for the oldest chunk that is under way', async () => {
  const open: (() => void)[] = [];
  const { writer } = setUp(
    () => [statement('a')],
    () => new Promise<void>((resolve) => open.push(resolve)),
  );
  await writer.write(chunk(10n));
  await writer.write(chunk(20n));
  await expect.poll(() => open.length).toBe(2);
  expect(writer.completedToken(30n)).toBe(10n);
  open[1]!();
  expect(writer.completedToken(30n)).toBe(10n);
  open[0]!();
  await writer.finish();
  expect(writer.completedToken(30n)).toBe(30n);
});

test('the budget of bytes a second is kept by waiting', async () => {
  const { writer, slept } = setUp(
    () => [statement('a', undefined, 1000)],
    () => undefined,
    1000,
  );
  for (let i = 0; i < 5; i++) {
    await writer.write(chunk());
    await writer.finish();
  }
  // Five seconds of budget, of which one second ahead and one behind are free.
  expect(slept.reduce((sum, ms) => sum + ms, 0)).toBe(3000);
});
