import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { BatchKind } from '#core/cql/protocol.ts';
import { faultInBatch, faultInParameters } from '#core/cql/request-check.ts';
import { readRequestLayout } from '#core/cql/request-layout.ts';
import { encodeBatchTail, encodeQuery, type QueryParameters } from '#core/cql/request-messages.ts';
import { Consistency } from '#core/model/cql-request.ts';

const TEXT = 'SELECT';
/** Behind the text and its consistency. */
const FLAGS = 4 + TEXT.length + 2;

function parametersFor(version: number): fc.Arbitrary<QueryParameters> {
  const value = fc.oneof(
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    fc.constant(null),
    ...(version >= 4 ? [fc.constant(undefined)] : []),
  );
  const fields = {
    consistency: fc.constantFrom(...Object.values(Consistency)),
    values: fc.array(value, { maxLength: 5 }),
    pageSize: fc.integer(),
    pagingState: fc.uint8Array({ maxLength: 10 }),
    serialConsistency: fc.constantFrom(Consistency.SERIAL, Consistency.LOCAL_SERIAL),
    timestampMicros: fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }),
    ...(version >= 5 ? { keyspace: fc.string({ maxLength: 5 }), nowInSeconds: fc.integer() } : {}),
  };
  return fc.record(fields, { requiredKeys: [] }) as fc.Arbitrary<QueryParameters>;
}

describe.each([3, 4, 5])('v%i', (version) => {
  test('whole parameters have no fault, and cut ones have', () => {
    fc.assert(
      fc.property(parametersFor(version), (parameters) => {
        const body = encodeQuery(TEXT, parameters, version);
        expect(faultInParameters(body, FLAGS, body.length, version)).toBeUndefined();
        for (let end = FLAGS; end < body.length; end++) {
          expect(faultInParameters(body, FLAGS, end, version), `cut at ${end}`).toBeDefined();
        }
      }),
      { numRuns: 100 },
    );
  });

  test('whole batches have no fault, and cut ones have', () => {
    const kinds = fc.constantFrom(...Object.values(BatchKind));
    fc.assert(
      fc.property(kinds, fc.integer({ max: 3, min: 0 }), parametersFor(version), (kind, count, parameters) => {
        const { values = [], consistency, serialConsistency, timestampMicros, keyspace, nowInSeconds } = parameters;
        const writer = new BodyWriter().byte(kind).short(count);
        for (let index = 0; index < count; index++) {
          if (index % 2 === 0) writer.byte(0).longString(TEXT);
          else writer.byte(1).shortBytes(Buffer.alloc(16));
          writer.short(values.length);
          for (const value of values) writer.value(value);
        }
        const tail = { consistency, serialConsistency, timestampMicros, keyspace, nowInSeconds } as QueryParameters;
        const body = Buffer.concat([writer.toBuffer(), encodeBatchTail(tail, version)]);
        expect(faultInBatch(body, 0, body.length, version)).toBeUndefined();
        for (let end = 0; end < body.length; end++) expect(faultInBatch(body, 0, end, version)).toBeDefined();
      }),
      { numRuns: 60 },
    );
  });

  test('what has no fault can be read, whatever its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 7, maxLength: 60 }), (bytes) => {
        const body = Buffer.concat([encodeQuery(TEXT, {}, version).subarray(0, FLAGS - 2), bytes]);
        if (faultInParameters(body, FLAGS, body.length, version) !== undefined) return;
        expect(() => readRequestLayout(7, body, version)).not.toThrow();
      }),
      { numRuns: 500 },
    );
  });

  test('levels of consistency and times that are none are faults', () => {
    const strange = encodeQuery(TEXT, { consistency: 11 as Consistency }, version);
    expect(faultInParameters(strange, FLAGS, strange.length, version)).toMatch(/consistency/);
    const lowest = encodeQuery(TEXT, { timestampMicros: -(2n ** 63n) }, version);
    expect(faultInParameters(lowest, FLAGS, lowest.length, version)).toMatch(/timestamp/);
  });
});
