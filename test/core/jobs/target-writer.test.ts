import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { RequestTimeoutError, ServerError } from '#core/errors.ts';
import { TargetWriter, type TargetWriterOptions } from '#core/jobs/target-writer.ts';
import type { BoundStatement, ToStatements } from '#core/merge/statements.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { createLoadSession, preparedOf, type SentBatch } from '../../support/load-session.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const textOf = ({ entries }: SentBatch) => entries.map(({ text }) => text);

function setUp(
  statements: ToStatements,
  answer: (sent: SentBatch, number: number) => Promise<void> | void,
  bytesPerSecond = 1e12,
) {
  const sent: SentBatch[] = [];
  const slept: number[] = [];
  let now = 1_000_000;
  const target = createLoadSession(async (batch) => {
    sent.push(batch);
    await answer(batch, sent.length);
  });
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
    table: 'shop.orders',
    toStatements: statements,
    consistency: Consistency.LOCAL_QUORUM,
    exactTimes: true,
    bytesPerSecond,
    maxBytesInFlight: 32 << 20,
    listAttempt: 100,
  };
  const writer = new TargetWriter<bigint | undefined>(ports, options);
  const request = (position?: bigint, valueBytes = 0) => {
    const made = writer.take(position);
    made.append(preparedOf('a'), [new Uint8Array(valueBytes)], 5);
    return made;
  };
  return { writer, sent, slept, request };
}

const kept = { kind: 'deletePartition', timestampMicros: 1n, localDeletionTimeSeconds: 1 } as const;
const none: ToStatements = () => [];

test('a request says its consistency, its base of time and where it goes', async () => {
  const { writer, sent, request } = setUp(none, () => undefined);
  const one = request();
  one.nowInSeconds = 5;
  one.routingKey = Uint8Array.of(7);
  await writer.write(one);
  await writer.finish();
  expect(sent).toMatchObject([
    { consistency: Consistency.LOCAL_QUORUM, nowInSeconds: 5, routingKey: Uint8Array.of(7) },
  ]);
  expect(textOf(sent[0]!)).toEqual(['a']);
  expect(writer.counts).toMatchObject({ requests: 1, statements: 1, retries: 0 });
});

test('an overloaded target is asked again later, and each attempt writes lists a microsecond later', async () => {
  const { writer, sent, slept, request } = setUp(
    (_, { listAttempt }): BoundStatement[] => [{ text: `list ${listAttempt}`, values: [], byteLength: 0 }],
    (_, number) => {
      if (number === 1) throw new ServerError('overloaded', 0x1001, true);
      if (number === 2) throw new RequestTimeoutError('no answer');
    },
  );
  const before = writer.limit;
  const one = request();
  one.kept.push({ write: kept, partitionKey: [] });
  await writer.write(one);
  await writer.finish();
  expect(sent.map(textOf)).toEqual([
    ['a', 'list 100'],
    ['a', 'list 101'],
    ['a', 'list 102'],
  ]);
  expect(slept).toEqual([100, 200]);
  expect(writer.limit).toBeLessThanOrEqual(before / 4 + 1);
});

test('what can not succeed later fails at once, and stops the requests that follow', async () => {
  const { writer, sent, request } = setUp(none, () => {
    throw new ServerError('unknown column', 0x2200, false);
  });
  await writer.write(request());
  await expect(writer.finish()).rejects.toThrow('unknown column');
  expect(() => writer.write(request())).toThrow('unknown column');
  expect(sent).toHaveLength(1);
});

test('a refusal of a large request names the table, the partition and the size', async () => {
  const { writer, request } = setUp(none, () => {
    throw new ServerError('CQL Message exceeds allowed maximum', 0x2200, false);
  });
  const large = request(undefined, 2 << 20);
  large.routingKey = Uint8Array.of(0xab, 1);
  await writer.write(large);
  await expect(writer.finish()).rejects.toThrow(
    /^a row of shop\.orders with 20971\d\d bytes, of the partition 0xab01, was refused: CQL Message exceeds .* max_mutation_size/,
  );
});

test('the position is that of the oldest request that is under way', async () => {
  const open: (() => void)[] = [];
  const { writer, request } = setUp(none, () => new Promise<void>((resolve) => open.push(resolve)));
  await writer.write(request(10n));
  await writer.write(request(20n));
  await expect.poll(() => open.length).toBe(2);
  expect(writer.oldest?.position).toBe(10n);
  open[1]!();
  expect(writer.oldest?.position).toBe(10n);
  open[0]!();
  await writer.finish();
  expect(writer.oldest).toBeUndefined();
});

test('large requests wait for one another, and a single one of any size goes', async () => {
  const open: (() => void)[] = [];
  const { writer, request } = setUp(none, () => new Promise<void>((resolve) => open.push(resolve)));
  expect(writer.write(request(1n, 40 << 20))).toBeUndefined();
  const second = writer.write(request(2n, 1024));
  expect(second).toBeInstanceOf(Promise);
  await expect.poll(() => open.length).toBe(1);
  open[0]!();
  await second;
  await expect.poll(() => open.length).toBe(2);
  open[1]!();
  await writer.finish();
});

test('time-outs of one stall halve the limit once', async () => {
  const stall = Promise.withResolvers<void>();
  const { writer, sent, request } = setUp(none, (_, number) => (number <= 10 ? stall.promise : undefined));
  const before = writer.limit;
  for (let i = 0; i < 10; i++) await writer.write(request());
  await expect.poll(() => sent.length).toBe(10);
  stall.reject(new RequestTimeoutError('no answer'));
  await writer.finish();
  expect(sent).toHaveLength(20);
  expect(writer.limit).toBeGreaterThanOrEqual(before / 2);
});

test('nothing that a request referred to outlives its answer', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const toStatements: ToStatements = () => [{ text: 'list', values: [], byteLength: 0 }];
  const { writer, sent } = setUp(toStatements, () => undefined);
  const windows: WeakRef<ArrayBuffer>[] = [];
  const view = () => {
    const window = new ArrayBuffer(1 << 20);
    windows.push(new WeakRef(window));
    return new Uint8Array(window, 0, 8);
  };
  const writeOne = () => {
    const request = writer.take(undefined);
    request.routingKey = view();
    request.append(preparedOf('a'), [view()], 5);
    request.kept.push({ write: kept, partitionKey: [view()] });
    return writer.write(request);
  };
  for (let i = 0; i < 16; i++) await writeOne();
  await writer.finish();
  expect(sent.splice(0)).toHaveLength(16);
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  expect(windows.filter((window) => window.deref() !== undefined)).toHaveLength(0);
});

test('the budget of bytes a second is kept by waiting', async () => {
  const { writer, slept, request } = setUp(none, () => undefined, 1000);
  let bytes = 0;
  for (let i = 0; i < 5; i++) {
    await writer.write(request(undefined, 900));
    await writer.finish();
    bytes = writer.counts.writtenBytes;
  }
  // One second ahead and one behind are free.
  expect(slept.reduce((sum, ms) => sum + ms, 0)).toBeCloseTo(bytes - 2000, -1);
});
