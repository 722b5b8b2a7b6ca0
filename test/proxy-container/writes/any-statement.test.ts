import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeBatch } from '#core/cql/batch-body.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { encodeInt } from '#core/cql/value-codec.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { startTestProxy, type TestProxy } from '../../support/in-process-proxy.ts';
import type { SeenRequest } from '../../support/mock-cluster.ts';

/** Any statement as text, prepared or in a batch: reads reach one cluster, writes both, and those get the same bytes. */
let parts: TestProxy;
let client: UpstreamConnection;

beforeAll(async () => {
  parts = await startTestProxy({ initialPhase: 'dual-async', shadowTimeoutMs: 15_000 });
  client = await parts.connect();
});

afterAll(() => parts.stop());

/** A statement, and how many values its markers take. */
interface Sample {
  readonly text: string;
  readonly markers: number;
  readonly isRead: boolean;
}

const spaces = fc.constantFrom(' ', '\n', ' /* INSERT INTO x */ ', ' -- SELECT 1\n', '\t');
const name = fc.constantFrom('v', '"v"', 'V', '"select"', '"in""sert"');
const table = fc.constantFrom('t', 'ks.t', '"ks"."t"', 'KS . T');
const generated = fc.constantFrom(
  'now()',
  'uuid()',
  'NOW ( )',
  'system.now()',
  'toTimestamp(now())',
  'toUnixTimestamp(currentTimeUUID())',
  'currentTimestamp()',
  'toDate(now())',
);
const plain = fc.constantFrom(
  "'x'",
  "'now()'",
  '$$it is ? now()$$',
  '1',
  'null',
  '0xcafe',
  "{'a', 'b'}",
  '-1.5',
  'true',
);
const word = (text: string) => fc.mixedCase(fc.constant(text));
const term = fc.oneof({ arbitrary: plain, weight: 3 }, { arbitrary: fc.constant('?'), weight: 3 }, generated);

const insert = fc
  .tuple(word('insert'), word('into'), table, name, term, term, spaces)
  .map(([a, b, of, column, first, second, s]) =>
    [a, b, `${of}${s}(id, ${column}, w)`, `VALUES (?,${first},${s}${second})`].join(s),
  );
const update = fc
  .tuple(word('update'), table, name, term, spaces, fc.boolean())
  .map(([a, of, column, to, s, hasTime]) =>
    [a, of, ...(hasTime ? ['USING TIMESTAMP 77'] : []), `SET ${column} = ${to}`, 'WHERE id = ?'].join(s),
  );
const remove = fc.tuple(word('delete'), table, spaces).map(([a, of, s]) => [a, 'FROM', of, 'WHERE id = ?'].join(s));
const select = fc
  .tuple(word('select'), name, table, fc.constantFrom('?', '1', "'insert into t'"), spaces)
  .map(([a, column, of, to, s]) => [a, column, 'FROM', of, `WHERE id = ${to}`].join(s));

/** Markers outside literals. */
function sample(text: string, isRead: boolean): Sample {
  const bare = text.replaceAll(/'[^']*'|\$\$.*?\$\$|\/\*.*?\*\//gs, '');
  return { text, markers: [...bare.matchAll(/\?/g)].length, isRead };
}
const write = fc.oneof(insert, update, remove).map((text) => sample(text, false));
const read = select.map((text) => sample(text, true));
const valuesOf = ({ markers }: Sample): Buffer[] => Array.from({ length: markers }, (_, index) => encodeInt(index));

async function prepare(text: string): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(text, 4), 20_000);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('not prepared');
  return Buffer.from(result.prepared.id);
}

/** What reached a cluster of one request, without the id by which only this cluster calls a statement. */
function shapeOf({ opcode, body, text, timestampMicros }: SeenRequest): object {
  const layout = readRequestLayout(opcode, body, 4);
  return {
    opcode,
    timestampMicros,
    consistency: layout.consistency,
    first: text,
    statements: layout.statements.map((one) => ({
      text: one.text,
      values: readValues(body, one).map(({ value }) => value && Buffer.from(value).toString('hex')),
    })),
  };
}

const seenOf = (cluster: 'origin' | 'target'): SeenRequest[] =>
  parts[cluster].seen.filter(({ opcode }) => opcode !== Opcode.PREPARE);

/** Sends one request and returns what each cluster got of it when all copies have arrived. */
async function send(opcode: number, body: Buffer): Promise<{ origin: SeenRequest[]; target: SeenRequest[] }> {
  parts.origin.seen.length = 0;
  parts.target.seen.length = 0;
  expect(opcodeOf(await client.request(opcode, 0, body, 20_000))).toBe(Opcode.RESULT);
  await eventually(() => expect(parts.proxy.status().counters).toMatchObject({ shadowInFlight: 0, inFlightWrites: 0 }));
  return { origin: seenOf('origin'), target: seenOf('target') };
}

function expectWrittenTwice({ origin, target }: { origin: SeenRequest[]; target: SeenRequest[] }): void {
  expect(origin).toHaveLength(1);
  expect(target.map(shapeOf)).toEqual(origin.map(shapeOf));
  expect(origin[0]?.timestampMicros).toBeDefined();
  for (const { text } of readRequestLayout(origin[0]!.opcode, origin[0]!.body, 4).statements) {
    // Nothing is left for the servers to make up. Literals and comments may name anything.
    const bare = (text ?? '').replaceAll(/'[^']*'|\$\$.*?\$\$|\/\*.*?\*\/|--[^\n]*/gs, '');
    expect(bare).not.toMatch(/\b(now|uuid|current\w+)\s*\(/i);
  }
}

const RUNS = { numRuns: 120 };

test('as text', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(read, write), async (one) => {
      const seen = await send(Opcode.QUERY, encodeQuery(one.text, { values: valuesOf(one) }, 4));
      if (!one.isRead) expectWrittenTwice(seen);
      else expect([seen.origin.length, seen.target.length]).toEqual([1, 0]);
    }),
    RUNS,
  );
});

test('prepared', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(read, write), async (one) => {
      const id = await prepare(one.text);
      const seen = await send(Opcode.EXECUTE, encodeExecute(id, { values: valuesOf(one) }, 4));
      if (!one.isRead) expectWrittenTwice(seen);
      else expect([seen.origin.length, seen.target.length]).toEqual([1, 0]);
    }),
    RUNS,
  );
});

test('in a batch, some of it prepared', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ one: write, isPrepared: fc.boolean() }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom(0, 1),
      async (members, kind) => {
        const statements = [];
        for (const { one, isPrepared } of members) {
          const values = valuesOf(one);
          statements.push(isPrepared ? { id: await prepare(one.text), values } : { text: one.text, values });
        }
        expectWrittenTwice(await send(Opcode.BATCH, encodeBatch(kind, statements, {}, 4)));
      },
    ),
    { numRuns: 60 },
  );
});

test('the application’s own write time is kept, the protocol’s as well as the one in the text', async () => {
  await fc.assert(
    fc.asyncProperty(write, fc.bigInt({ min: 1n, max: 2n ** 62n }), async (one, timestampMicros) => {
      const body = encodeQuery(one.text, { values: valuesOf(one), timestampMicros }, 4);
      const seen = await send(Opcode.QUERY, body);
      expectWrittenTwice(seen);
      expect(seen.target[0]?.timestampMicros).toBe(timestampMicros);
      if (one.text.includes('USING TIMESTAMP 77')) expect(seen.target[0]?.text).toContain('USING TIMESTAMP 77');
    }),
    { numRuns: 60 },
  );
});
