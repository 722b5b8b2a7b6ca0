import { describe, expect, test } from 'vitest';
import { hideMarkers } from '#core/cql/hidden-markers.ts';
import type { PreparedMessage } from '#core/cql/result-message.ts';
import { decodeUuid } from '#core/cql/value-codec.ts';
import { insertMarkers, replaceFunctions } from '#core/statement/functions.ts';
import { evaluateCall, type ValueSource } from '#core/statement/generated-value.ts';

const source: ValueSource = {
  nowMillis: () => Date.UTC(2026, 10, 21, 7, 30, 15, 250),
  randomBytes: () => Uint8Array.from({ length: 16 }, (_, index) => index * 17),
};

function replaced(text: string): string {
  return replaceFunctions(text, (call) => evaluateCall(call, source).literal).text;
}

/** What a server would answer to a PREPARE of `text`, whose markers stand for the columns in order. */
function serverPrepares(text: string, columns: readonly string[], key: string): PreparedMessage {
  const terms = /VALUES \((.*)\)/
    .exec(text)![1]!
    .split(',')
    .map((term) => term.trim());
  const bound = columns.filter((_, index) => /[?:]/.test(terms[index]!));
  const keyIndex = bound.indexOf(key);
  return {
    id: Buffer.alloc(16),
    markers: bound.map((name) => ({ keyspace: 'k', table: 't', name, type: { kind: 'native', name: 'text' } })),
    partitionKeyIndexes: keyIndex < 0 ? [] : [keyIndex],
    result: { columnCount: 0, columns: [] },
  };
}

describe('prepared now() in the shapes that go wrong elsewhere', () => {
  test.each([
    ['(id,ts) VALUES (?,now())', ['id', 'ts'], 'id', ['id'], [0]],
    ['(id,ts,v) VALUES (?,now(),?)', ['id', 'ts', 'v'], 'id', ['id', 'v'], [0]],
    ['(ts,id,v) VALUES (now(),?,?)', ['ts', 'id', 'v'], 'id', ['id', 'v'], [0]],
    ['(id,ts,name) VALUES (:id,now(),:name)', ['id', 'ts', 'name'], 'id', ['id', 'name'], [0]],
    ['(id,a,b) VALUES (uuid(),toTimestamp(now()),?)', ['id', 'a', 'b'], 'id', ['b'], []],
  ])('%s', (shape, columns, key, visible, keyIndexes) => {
    const { text, inserted } = insertMarkers(`INSERT INTO t ${shape}`);
    const answer = serverPrepares(text, columns, key);
    const shown = hideMarkers(
      answer,
      inserted.map(({ position }) => position),
    );
    expect([shown.markers.map(({ name }) => name), shown.partitionKeyIndexes]).toEqual([visible, keyIndexes]);
  });
});

test('inserted markers carry their type, their position, and a name where the others have one', () => {
  expect(
    insertMarkers('UPDATE t SET a = ?, b = toDate(now()), c = (?, uuid()) WHERE id = ? AND d = currentTime()'),
  ).toEqual({
    text: 'UPDATE t SET a = ?, b = (date)?, c = (?, (uuid)?) WHERE id = ? AND d = (time)?',
    inserted: [
      { position: 1, call: { source: 'timeuuid', conversions: ['date'], type: 'date' } },
      { position: 3, call: { source: 'uuid', conversions: [], type: 'uuid' } },
      { position: 5, call: { source: 'time', conversions: [], type: 'time' } },
    ],
  });
  const named = insertMarkers('INSERT INTO t (a, b, c) VALUES (:a, now(), now()) USING TTL :ringshift_generated_1');
  expect(named.text).toBe(
    'INSERT INTO t (a, b, c) VALUES (:a, (timeuuid):ringshift_generated_0, (timeuuid):ringshift_generated_1_) USING TTL :ringshift_generated_1',
  );
  expect(named.inserted.map(({ position, name }) => [position, name])).toEqual([
    [1, 'ringshift_generated_0'],
    [2, 'ringshift_generated_1_'],
  ]);
});

test.each([
  ['INSERT INTO t (a) VALUES (currentTimestamp())', 'INSERT INTO t (a) VALUES ((timestamp)1795246215250)'],
  ['INSERT INTO t (a) VALUES (toTimestamp(now()))', 'INSERT INTO t (a) VALUES ((timestamp)1795246215250)'],
  ['INSERT INTO t (a) VALUES (toUnixTimestamp( now ( ) ))', 'INSERT INTO t (a) VALUES ((bigint)1795246215250)'],
  ['INSERT INTO t (a) VALUES (toTimestamp(toDate(now())))', 'INSERT INTO t (a) VALUES ((timestamp)1795219200000)'],
  ['INSERT INTO t (a) VALUES (toUnixTimestamp(currentDate()))', 'INSERT INTO t (a) VALUES ((bigint)1795219200000)'],
  ['INSERT INTO t (a) VALUES (current_date())', "INSERT INTO t (a) VALUES ((date)'2026-11-21')"],
  ['INSERT INTO t (a) VALUES (currentTime())', "INSERT INTO t (a) VALUES ((time)'07:30:15.250')"],
  [
    'INSERT INTO t (a) VALUES (maxTimeuuid(currentTimestamp()))',
    'INSERT INTO t (a) VALUES (maxTimeuuid((timestamp)1795246215250))',
  ],
  ["INSERT INTO t (a) VALUES (ks.now(), 'now()') -- now()", "INSERT INTO t (a) VALUES (ks.now(), 'now()') -- now()"],
])('%s becomes %s', (text, expected) => {
  expect(replaced(text)).toBe(expected);
});

test('UUIDs are of the version that their function makes, and literal and bytes agree', () => {
  const time = evaluateCall({ source: 'timeuuid', conversions: [], type: 'timeuuid' }, source);
  const random = evaluateCall({ source: 'uuid', conversions: [], type: 'uuid' }, source);
  expect(decodeUuid(time.bytes)).toBe(time.literal);
  expect([time.literal[14], random.literal[14]]).toEqual(['1', '4']);
  const ticks = BigInt(`0x0${time.literal.slice(15, 18)}${time.literal.slice(9, 13)}${time.literal.slice(0, 8)}`);
  expect(ticks / 10_000n - 12_219_292_800_000n).toBe(BigInt(source.nowMillis()));
});

test('date and time are encoded as the protocol has them', () => {
  const date = evaluateCall({ source: 'date', conversions: [], type: 'date' }, source);
  expect(date.bytes.readUInt32BE()).toBe(2 ** 31 + 20778);
  const time = evaluateCall({ source: 'time', conversions: [], type: 'time' }, source);
  expect(time.bytes.readBigInt64BE()).toBe((7n * 3600n + 30n * 60n + 15n) * 1_000_000_000n + 250_000_000n);
});

test.each([
  ['[now()]', 0],
  ["{'k': now()}", 0],
  ['{uuid(), uuid()}', 0],
  ['[(now(), 1)]', 0],
  ['[{a: now()}]', 0],
  ['{a: now(), b: uuid()}', 2],
  ['(now(), uuid())', 2],
  ['minTimeuuid(toTimestamp(now()))', 1],
])('servers take no marker inside a list, set or map: %s gets %i', (literal, markers) => {
  expect(insertMarkers(`INSERT INTO t (id, c) VALUES (?, ${literal})`).inserted).toHaveLength(markers);
  // A text has no markers, so everything in it is evaluated.
  expect(replaced(`INSERT INTO t (c) VALUES (${literal})`)).not.toMatch(/now|[ {[(]uuid\(/);
});

test('an index of a list or map takes a marker', () => {
  expect(insertMarkers('UPDATE t SET m[now()] = ? WHERE id = ?').text).toBe(
    'UPDATE t SET m[(timeuuid)?] = ? WHERE id = ?',
  );
});
