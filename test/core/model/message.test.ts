import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageInvalidError } from '#core/errors.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import {
  bundleOf,
  type CopyMessage,
  decodeMessage,
  encodeMessage,
  encodeWrite,
  type Message,
  type WritesMessage,
} from '#core/model/message.ts';

const write: FailedWrite = {
  id: 'p1-17',
  keyspace: 'ks',
  tables: [{ keyspace: 'ks', table: 't' }],
  consistency: 6,
  timestampMicros: 1_700_000_000_000_001n,
  writtenAtSeconds: 1_700_000_000,
  expiresAtSeconds: null,
  epoch: 3,
  destination: 'target',
  kind: 'query',
  statements: [{ text: 'INSERT INTO t (k, v) VALUES (?, ?)', values: [new Uint8Array([1]), null] }],
  idempotent: true,
  attempts: 1,
};
const of = (...writes: readonly FailedWrite[]): WritesMessage => ({
  kind: 'writes',
  instance: 'p1',
  enqueuedAt: '2026-01-02T03:04:05.678Z',
  writes,
});
const copy: CopyMessage = {
  kind: 'copy',
  id: 'c1',
  keyspace: 'ks',
  table: 't',
  tokens: [1n],
  lacking: 'target',
  code: 'crash-window',
  attempts: 1,
  enqueuedAt: '2026-01-02T03:04:05.678Z',
  instance: 'p1',
};

const golden = (name: string) => readFile(new URL(`../../golden/messages/${name}.json`, import.meta.url), 'utf8');

test('a message of writes has this form, whose every field comes back', async () => {
  const text = await golden('writes');
  const message = decodeMessage(text) as WritesMessage;
  expect(message).toEqual({
    ...of(
      {
        ...write,
        id: '0b6c2f6e-7e0e-4f1c-9a35-1f1f6f8b2c11',
        keyspace: 'shop',
        tables: [{ keyspace: 'shop', table: 'orders', tokens: [-(2n ** 63n) + 1n] }],
        expiresAtSeconds: 1_700_003_600,
        statements: [
          {
            text: 'INSERT INTO orders (id, note, paid) VALUES (?, ?, ?) USING TTL 3600',
            types: ['int', 'text', 'boolean'],
            values: [new Uint8Array([0, 0, 0, 7]), null, undefined],
          },
        ],
        partitionKey: new Uint8Array([0, 0, 0, 7]),
        code: 'unknown-outcome',
        reason: 'RequestTimeoutError',
        attempts: 2,
        notBefore: '2026-01-02T04:00:00Z',
      },
      {
        ...write,
        id: 'w-2',
        keyspace: null,
        tables: [
          { keyspace: 'shop', table: 'orders' },
          { keyspace: 'shop', table: 'Carts', tokens: [42n, 2n ** 63n - 1n] },
        ],
        consistency: 10,
        timestampMicros: -5n,
        writtenAtSeconds: 1_700_000_001,
        destination: 'origin',
        kind: 'batch',
        batchKind: 'logged',
        statements: [
          { text: 'DELETE FROM shop.orders WHERE id = 7', values: [] },
          {
            text: 'UPDATE shop."Carts" SET lines = lines + :more WHERE id = :id',
            values: new Map([
              ['more', new Uint8Array(4)],
              ['id', new Uint8Array(0)],
            ]),
          },
        ],
        idempotent: false,
        readBack: true,
      },
    ),
    instance: 'proxy-eu-1',
  });
  expect(JSON.parse(encodeMessage(message))).toEqual(JSON.parse(text));
});

test('a message of places has this form', async () => {
  const text = await golden('copy');
  const message = decodeMessage(text);
  expect(message).toEqual({
    ...copy,
    id: 'c-17',
    keyspace: 'shop',
    table: 'Carts',
    tokens: [-(2n ** 63n) + 1n, 0n, 42n],
    lacking: null,
    instance: 'proxy-eu-1',
    notBefore: '2026-01-02T04:00:00.000Z',
  });
  expect(JSON.parse(encodeMessage(message))).toEqual(JSON.parse(text));
});

const value = fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.constant(null), fc.constant(undefined));
const token = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

test('writes come back as they were sent, with null, unset and empty values told apart', () => {
  fc.assert(
    fc.property(
      token,
      fc.array(token, { maxLength: 3 }),
      fc.array(fc.record({ text: fc.string({ minLength: 1 }), values: fc.array(value, { maxLength: 5 }) }), {
        minLength: 1,
        maxLength: 4,
      }),
      (timestampMicros, tokens, statements) => {
        const batch: FailedWrite = {
          ...write,
          tables: [{ keyspace: 'ks', table: 't', tokens }],
          kind: 'batch',
          batchKind: 'logged',
          timestampMicros,
          statements,
        };
        expect(decodeMessage(encodeMessage(of(batch, write)))).toEqual(of(batch, write));
      },
    ),
  );
});

test('writes that are encoded one by one make the same message', () => {
  const message = of(write, { ...write, id: 'other' });
  expect(bundleOf('p1', message.enqueuedAt, message.writes.map(encodeWrite))).toBe(encodeMessage(message));
});

test('values bound by name keep their names', () => {
  const values = new Map<string, Uint8Array | null | undefined>([
    ['k', new Uint8Array([7])],
    ['v', undefined],
  ]);
  const named = of({ ...write, statements: [{ text: 'UPDATE t SET v = :v WHERE k = :k', values }] });
  expect(decodeMessage(encodeMessage(named))).toEqual(named);
});

const reasonOf = (text: string): string => {
  try {
    decodeMessage(text);
    return 'it was understood';
  } catch (error) {
    expect(error).toBeInstanceOf(MessageInvalidError);
    return (error as Error).message;
  }
};

test('what is not such a message is refused by the path of what is wrong, never by a value', () => {
  const body = JSON.parse(encodeMessage(of(write))) as { writes: Record<string, unknown>[] };
  const broken = (change: object) => JSON.stringify({ ...body, writes: [{ ...body.writes[0], ...change }] });
  expect(reasonOf(broken({ timestampMicros: undefined }))).toContain('writes.0.timestampMicros');
  expect(reasonOf(broken({ timestampMicros: '9223372036854775808' }))).toContain('writes.0.timestampMicros');
  expect(reasonOf(broken({ expiresAtSeconds: undefined }))).toContain('writes.0.expiresAtSeconds');
  expect(reasonOf(broken({ kind: 'batch' }))).toContain('writes.0.batchKind');
  expect(reasonOf(broken({ tables: [{ keyspace: 'ks', table: 't', tokens: ['x'] }] }))).toContain('tables.0.tokens.0');
  const value = 'aHVudGVyMg==';
  const odd = { statements: [{ text: 'x', values: { 'hunter2 name': [value] } }], hunter2: value };
  for (const text of [
    broken(odd),
    JSON.stringify({ ...body, version: 2 }),
    JSON.stringify({ ...body, writes: [] }),
    JSON.stringify({ ...JSON.parse(encodeMessage(copy)), tokens: [] }),
    JSON.stringify({ ...JSON.parse(encodeMessage(copy)), code: 'hunter2' }),
    '{"secret": hunter2}',
    '[]',
    'null',
    '"hunter2"',
  ]) {
    expect(reasonOf(text)).not.toMatch(/hunter2|aHVud|understood/);
  }
});

test('a message that is cut or changed anywhere is refused or is still a message, and never anything else', () => {
  const bodies = [encodeMessage(of(write)), encodeMessage(copy)];
  fc.assert(
    fc.property(
      fc.constantFrom(...bodies),
      fc.nat(),
      fc.string({ maxLength: 3 }),
      fc.nat({ max: 3 }),
      (body, at, put, cut) => {
        const from = at % body.length;
        let message: Message;
        try {
          message = decodeMessage(body.slice(0, from) + put + body.slice(from + cut));
        } catch (error) {
          expect(error).toBeInstanceOf(MessageInvalidError);
          return;
        }
        expect(decodeMessage(encodeMessage(message))).toEqual(message);
      },
    ),
    { numRuns: 300 },
  );
  for (const body of bodies) {
    for (let end = 0; end < body.length; end++)
      expect(() => decodeMessage(body.slice(0, end))).toThrow(MessageInvalidError);
  }
});

test('what queues refuse to carry is escaped, and comes back', () => {
  const odd = of({ ...write, statements: [{ text: `INSERT INTO t (k) VALUES ('\uFFFE\uFFFF')`, values: [] }] });
  expect(encodeMessage(odd)).not.toMatch(/[\uFFFE\uFFFF]/);
  expect(decodeMessage(encodeMessage(odd))).toEqual(odd);
});
