import { expect, test } from 'vitest';
import { MessageInvalidError, ObjectStoreError } from '#core/errors.ts';
import { decodeMessage, encodeMessage } from '#core/model/message.ts';
import { byTable, describeDeadLetter, withoutAttempts } from '../../cli/dead-letters.ts';

const queue = { resolve: async (body: string) => body };
const AT = '2026-01-01T00:00:00.000Z';

function body(): string {
  return encodeMessage({
    kind: 'writes',
    instance: 'p1',
    enqueuedAt: AT,
    writes: [1, 3].map((attempts) => ({
      id: `w${attempts}`,
      keyspace: 'ks',
      tables: [{ keyspace: 'ks', table: 't' }],
      consistency: 6,
      timestampMicros: 1n,
      writtenAtSeconds: 1,
      expiresAtSeconds: null,
      epoch: 2,
      destination: 'target',
      kind: 'query',
      statements: [{ text: "INSERT INTO t (k) VALUES ('secret')", values: [] }],
      idempotent: true,
      reason: 'Timeout',
      attempts,
      notBefore: AT,
    })),
  });
}

const copy = encodeMessage({
  kind: 'copy',
  id: 'c1',
  keyspace: 'ks',
  table: 'u',
  tokens: [1n, -5n],
  lacking: 'target',
  code: 'too-old',
  attempts: 2,
  enqueuedAt: AT,
  instance: 'p1',
});

test('of a dead letter its tables, reason and attempts are told, and no value', async () => {
  const told = await describeDeadLetter({ id: 'm1', body: body(), reason: 'unknown column' }, queue);
  expect(told).toEqual({
    id: 'm1',
    kind: 'writes',
    tables: ['ks.t'],
    reason: 'unknown column',
    count: 2,
    attempts: 3,
  });
  const givenUp = await describeDeadLetter({ id: 'm1', body: body() }, queue);
  expect(givenUp.reason).toContain('too many deliveries');
  expect(givenUp.reason).toContain('Timeout');
  expect(JSON.stringify([told, givenUp])).not.toContain('secret');
});

test('places and what can not be read are told of too', async () => {
  expect(await describeDeadLetter({ id: 'm2', body: copy, reason: 'they differ' }, queue)).toMatchObject({
    kind: 'copy',
    tables: ['ks.u'],
    count: 2,
    attempts: 2,
  });
  expect(await describeDeadLetter({ id: 'm3', body: '{"values":"secret"}' }, queue)).toEqual({
    id: 'm3',
    kind: 'unreadable',
    tables: [],
    reason: expect.not.stringContaining('secret'),
    count: 0,
    attempts: null,
  });
});

test('letters are counted by table, with how often each reason was given', async () => {
  const letters = await Promise.all(
    [
      { id: '1', body: body(), reason: 'unknown column' },
      { id: '2', body: body(), reason: 'unknown column' },
      { id: '3', body: body(), reason: 'no such table' },
      { id: '4', body: copy, reason: 'they differ' },
      { id: '5', body: 'no JSON', reason: 'no JSON' },
    ].map((letter) => describeDeadLetter(letter, queue)),
  );
  expect(byTable(letters)).toEqual([
    { table: 'ks.t', letters: 3, reasons: { 'unknown column': 2, 'no such table': 1 } },
    { table: '(unknown)', letters: 1, reasons: { 'no JSON': 1 } },
    { table: 'ks.u', letters: 1, reasons: { 'they differ': 1 } },
  ]);
});

test('attempts are set back in every write and place, and waits with them; what can not be read stays', async () => {
  const message = decodeMessage(await withoutAttempts(body(), queue));
  expect(
    message.kind === 'writes' && message.writes.map(({ id, attempts, notBefore }) => [id, attempts, notBefore]),
  ).toEqual([
    ['w1', 1, undefined],
    ['w3', 1, undefined],
  ]);
  expect(decodeMessage(await withoutAttempts(copy, queue))).toMatchObject({ kind: 'copy', id: 'c1', attempts: 1 });
  expect(await withoutAttempts('no JSON', queue)).toBe('no JSON');
  const gone = { resolve: () => Promise.reject(new MessageInvalidError('its body is gone')) };
  expect(await withoutAttempts('{"overflow":1}', gone)).toBe('{"overflow":1}');
  const away = { resolve: () => Promise.reject(new ObjectStoreError('S3 is away')) };
  await expect(withoutAttempts('{"overflow":1}', away)).rejects.toThrow('S3 is away');
});
