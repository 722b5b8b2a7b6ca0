import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { BatchKind, Opcode } from '#core/cql/protocol.ts';
import { applyEdits, pinTimestamp, requestEdits } from '#core/cql/request-edit.ts';
import { readRequestLayout, readValues, requestOffset } from '#core/cql/request-layout.ts';
import { encodeExecute, encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { ProtocolError } from '#core/errors.ts';
import { Consistency } from '#core/model/cql-request.ts';

const micros = 1_700_000_000_123_456n;

const values = fc.array(fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.constant(null)), { minLength: 1, maxLength: 4 });

function parametersFor(version: number): fc.Arbitrary<QueryParameters> {
  const common = {
    consistency: fc.constantFrom(Consistency.ONE, Consistency.LOCAL_QUORUM),
    values,
    skipMetadata: fc.boolean(),
    pageSize: fc.integer({ min: 1, max: 5000 }),
    pagingState: fc.uint8Array({ maxLength: 20 }),
    serialConsistency: fc.constantFrom(Consistency.SERIAL, Consistency.LOCAL_SERIAL),
  };
  const more = { keyspace: fc.string({ maxLength: 8 }), nowInSeconds: fc.integer({ min: 0, max: 2 ** 31 - 1 }) };
  return version >= 5
    ? fc.record({ ...common, ...more }, { requiredKeys: [] })
    : fc.record(common, { requiredKeys: [] });
}

/** The same request made with and without a timestamp by the encoder, which knows nothing of splicing. */
const requests: Record<string, (parameters: QueryParameters, version: number) => { opcode: number; body: Buffer }> = {
  QUERY: (parameters, version) => ({
    opcode: Opcode.QUERY,
    body: encodeQuery('UPDATE t SET ü = ? WHERE k = ?', parameters, version),
  }),
  EXECUTE: (parameters, version) => ({
    opcode: Opcode.EXECUTE,
    body: encodeExecute(Buffer.alloc(16, 7), parameters, version, Buffer.alloc(16, 9)),
  }),
  BATCH: (parameters, version) => ({
    opcode: Opcode.BATCH,
    body: encodeBatch(
      BatchKind.LOGGED,
      [
        { text: 'INSERT INTO t (k) VALUES (?)', values: parameters.values ?? [] },
        { id: Buffer.alloc(16, 1), values: [Buffer.from('x'), null] },
      ],
      parameters,
      version,
    ),
  }),
};

describe.each([3, 4, 5])('in protocol v%i', (version) => {
  describe.each(Object.keys(requests))('a %s', (kind) => {
    const make = requests[kind]!;

    test('gets a timestamp exactly as if the client had set it', () => {
      fc.assert(
        fc.property(parametersFor(version), (parameters) => {
          const { opcode, body } = make(parameters, version);
          const pinned = pinTimestamp(opcode, body, version, micros);
          expect(pinned.wasPinned).toBe(true);
          expect(pinned.body.equals(make({ ...parameters, timestampMicros: micros }, version).body)).toBe(true);
        }),
      );
    });

    test('keeps the timestamp that the client has set', () => {
      const { opcode, body } = make({ values: [Buffer.from('a')], timestampMicros: 42n }, version);
      const pinned = pinTimestamp(opcode, body, version, micros);
      expect(pinned).toEqual({ body, timestampMicros: 42n, wasPinned: false });
      expect(pinned.body).toBe(body);
    });

    test('is refused when it is cut anywhere', () => {
      const { opcode, body } = make(
        { values: [Buffer.from('abc')], serialConsistency: Consistency.SERIAL, timestampMicros: 1n },
        version,
      );
      for (let cut = 0; cut < body.length; cut++) {
        expect(() => readRequestLayout(opcode, body.subarray(0, cut), version), `cut at ${cut}`).toThrow(ProtocolError);
      }
    });
  });

  test('values are added where their markers are', () => {
    const { opcode, body } = requests['EXECUTE']!({ values: [Buffer.from('a'), null, Buffer.from('c')] }, version);
    const layout = readRequestLayout(opcode, body, version);
    const added = [
      { position: 0, value: Buffer.from('first') },
      { position: 2, value: Buffer.from('third') },
      { position: 5, value: Buffer.from('last') },
    ];
    const edited = applyEdits(body, requestEdits(body, layout, version, { values: new Map([[0, added]]) }));
    const again = readRequestLayout(opcode, edited, version);
    expect(readValues(edited, again.statements[0]!).map(({ value }) => value?.toString() ?? value)).toEqual([
      'first',
      'a',
      'third',
      null,
      'c',
      'last',
    ]);
  });

  test('values are added to a request that has none', () => {
    const { opcode, body } = requests['EXECUTE']!({}, version);
    const layout = readRequestLayout(opcode, body, version);
    const changes = { values: new Map([[0, [{ position: 0, value: Buffer.from('only') }]]]), timestampMicros: micros };
    const edited = applyEdits(body, requestEdits(body, layout, version, changes));
    const expected = requests['EXECUTE']!({ values: [Buffer.from('only')], timestampMicros: micros }, version);
    expect(edited.equals(expected.body)).toBe(true);
  });

  test('named values get a named one', () => {
    const named = { values: [Buffer.from('a')], names: ['id'] };
    const { opcode, body } = requests['EXECUTE']!(named, version);
    const layout = readRequestLayout(opcode, body, version);
    const added = [{ position: 0, name: 'made', value: Buffer.from('x') }];
    const edited = applyEdits(body, requestEdits(body, layout, version, { values: new Map([[0, added]]) }));
    const found = readValues(edited, readRequestLayout(opcode, edited, version).statements[0]!);
    expect(found.map(({ name, value }) => [name, value?.toString()])).toEqual([
      ['id', 'a'],
      ['made', 'x'],
    ]);
  });

  test('ids, texts and consistency of a batch are exchanged', () => {
    const { opcode, body } = requests['BATCH']!({ consistency: Consistency.ONE, values: [Buffer.from('v')] }, version);
    const layout = readRequestLayout(opcode, body, version);
    const changes = {
      statements: new Map([
        [0, { text: 'DELETE FROM t WHERE k = ?' }],
        [1, { id: Buffer.from('another id') }],
      ]),
      consistency: Consistency.QUORUM,
    };
    const edited = applyEdits(body, requestEdits(body, layout, version, changes));
    const again = readRequestLayout(opcode, edited, version);
    expect(again.statements.map(({ text, id }) => text ?? id?.toString())).toEqual([
      'DELETE FROM t WHERE k = ?',
      'another id',
    ]);
    expect(again.consistency).toBe(Consistency.QUORUM);
    expect(again.statements.map((one) => readValues(edited, one).length)).toEqual([1, 2]);
  });
});

test('a v4 QUERY is spliced as the annotated trace shows', () => {
  const trace = (text: string): Buffer => Buffer.from(text.replaceAll(/\/\/.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
  const before = trace(`
    00000008 5550444154452054   // query [long string] "UPDATE T"
    0006                        // consistency LOCAL_QUORUM
    15                          // flags: values, page size, serial consistency
    0001 00000001 61            // one value, "a"
    00001388                    // page size 5000
    0008                        // serial consistency SERIAL
  `);
  const after = trace(`
    00000008 5550444154452054
    0006
    35                          // flags: and default timestamp
    0001 00000001 61
    00001388
    0008
    00060A24181E4240            // timestamp 1700000000000576
  `);
  expect(pinTimestamp(Opcode.QUERY, before, 4, 0x00060a24181e4240n).body.toString('hex')).toBe(after.toString('hex'));
});

test('a custom payload in front of a request is passed over', () => {
  const payload = Buffer.from('0001000161000000020102', 'hex');
  const query = encodeQuery('SELECT 1', {}, 4);
  const body = Buffer.concat([payload, query]);
  expect(requestOffset(0x04, body)).toBe(payload.length);
  expect(readRequestLayout(Opcode.QUERY, body, 4, payload.length).statements[0]!.text).toBe('SELECT 1');
  const pinned = pinTimestamp(Opcode.QUERY, body, 4, 5n, payload.length);
  expect(pinned.body.subarray(0, payload.length)).toEqual(payload);
  expect(readRequestLayout(Opcode.QUERY, pinned.body, 4, payload.length).timestampMicros).toBe(5n);
});

test('v3 has no unset values, and v4 no now_in_seconds: they are refused, not changed', () => {
  expect(() => encodeQuery('INSERT', { values: [undefined] }, 3)).toThrow(ProtocolError);
  expect(() => encodeQuery('INSERT', { nowInSeconds: 1 }, 4)).toThrow(ProtocolError);
});
