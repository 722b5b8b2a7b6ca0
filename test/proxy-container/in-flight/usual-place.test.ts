import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { executeFlagsOffset } from '#core/cql/request-layout.ts';
import { encodeExecute } from '#core/cql/request-messages.ts';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { joinPartitionKey } from '#core/model/partition-key.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import { joinToken, tokenOf } from '#core/token/token.ts';
import { keyOf, UsualTokens } from '../../../proxy-container/src/in-flight/usual-place.ts';
import { type PreparedEntry, PreparedStatements } from '../../../proxy-container/src/requests/prepared-statements.ts';
import type { SchemaFacts } from '../../../proxy-container/src/schema/schema-facts.ts';

const prepared = new PreparedStatements();

function entryOf(text: string, keyColumns: readonly string[] | undefined): PreparedEntry {
  const entry = prepared.entryOf(text, 'ks');
  entry.keyColumns = keyColumns;
  return entry;
}

function schemaOf(facts: Partial<TableFacts> | undefined, isMurmur3 = true): SchemaFacts {
  return { isMurmur3, known: () => facts } as unknown as SchemaFacts;
}

const nothing = schemaOf(undefined);
const tokens = new UsualTokens();

function tokenIn(
  entry: PreparedEntry,
  values: readonly (Buffer | null | undefined)[],
  version: number,
  schema = nothing,
) {
  const header = { version, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.EXECUTE };
  const body = encodeExecute(entry.id, { consistency: 1, values }, version, Buffer.alloc(16));
  const frame = encodeFrame(header, body);
  // Behind other requests, as it came.
  const bytes = Buffer.concat([Buffer.alloc(100, 0xff), frame]);
  const flagsOffset = executeFlagsOffset(bytes, 100 + 9 + 2 + entry.id.length, version);
  const isFound = tokens.find(keyOf(entry, 'ks', schema)!, bytes, flagsOffset, version);
  return isFound ? joinToken(tokens.halves[1]!, tokens.halves[0]!) : null;
}

test('finds the token of any bound key in the frame itself, in v4 and v5', () => {
  const one = entryOf('UPDATE t SET v = ?, w = ? WHERE id = ?', ['id']);
  const three = entryOf('INSERT INTO t (c, v, a, b) VALUES (?, ?, ?, ?)', ['a', 'b', 'c']);
  const value = fc.uint8Array({ minLength: 1, maxLength: 700 }).map((bytes) => Buffer.from(bytes));
  const other = fc.option(value, { nil: null });
  fc.assert(
    fc.property(value, value, value, other, fc.constantFrom(4, 5), (a, b, c, v, version) => {
      expect(tokenIn(one, [v, v, a], version)).toBe(tokenOf(a));
      expect(tokenIn(three, [c, v, a, b], version)).toBe(tokenOf(joinPartitionKey([a, b, c])!));
    }),
  );
});

test('a part of the key that stands in the text is taken from there', () => {
  const entry = entryOf("INSERT INTO t (kind, id, v) VALUES ('x', ?, ?)", undefined);
  expect(keyOf(entry, 'ks', nothing)).toBeUndefined();
  const schema = schemaOf({ partitionKey: ['kind', 'id'], keyTypes: new Map([['kind', 'text']]) });
  const expected = tokenOf(joinPartitionKey([encodeText('x'), encodeInt(5)])!);
  expect(tokenIn(entry, [encodeInt(5), null], 4, schema)).toBe(expected);
});

test.each([
  ['null', [null, encodeInt(1)]],
  ['unset', [undefined, encodeInt(1)]],
  ['empty', [Buffer.alloc(0), encodeInt(1)]],
  ['not there', []],
])('a key that is %s has no token', (_what, values) => {
  expect(tokenIn(entryOf('INSERT INTO t (id, v) VALUES (?, ?)', ['id']), values, 4)).toBeNull();
});

test.each([
  ['of several partitions', 'DELETE FROM t WHERE id IN (?, ?)'],
  ['that a function makes', 'INSERT INTO t (id, v) VALUES (uuid(), ?)'],
  ['in a document', 'INSERT INTO t JSON ?'],
])('a key %s has no token', (_what, text) => {
  expect(keyOf(entryOf(text, ['id']), 'ks', nothing)).toEqual([]);
});

test('with another partitioner nothing has a token', () => {
  const entry = entryOf('INSERT INTO t (id, v) VALUES (?, ?)', ['id']);
  expect(keyOf(entry, 'ks', schemaOf(undefined, false))).toEqual([]);
});
