import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BodyWriter } from '#core/cql/body-writer.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { encodeFrame } from '#core/cql/frame.ts';
import { ErrorCode, FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { encodeInt } from '#core/cql/value-codec.ts';
import { DriverEnvironment } from './support/driver-environment.ts';
import { RawClient } from './support/raw-client.ts';
import { RawSide } from './support/raw-side.ts';
import { type HostAndPort, readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'broken_frames';
const environment = readTestEnvironment();
const { username, password } = environment;
let parts: DriverEnvironment;

beforeAll(async () => {
  parts = await DriverEnvironment.start(25_430, [KEYSPACE], []);
  for (const client of [parts.origin, parts.target]) {
    for (const table of ['items', 'others']) {
      await client.execute(`CREATE TABLE ${KEYSPACE}.${table} (id int, part int, v text, PRIMARY KEY (id, part))`);
    }
  }
});

afterAll(() => parts?.stop());

const login = (place: HostAndPort, version: number) => RawClient.login(place, { version }, username, password);

const INSERT = `INSERT INTO ${KEYSPACE}.items (id, part, v) VALUES (1, 1, 'v')`;
const SELECT = `SELECT * FROM ${KEYSPACE}.items WHERE id = 1`;
const NOTHING = Buffer.alloc(0);
const flags = (version: number, value: number) => (version >= 5 ? [0, 0, value >> 8, value & 255] : [value]);
const text = (statement: string) => new BodyWriter().longString(statement).toBuffer();
const query = (statement: string, ...tail: number[]) => Buffer.concat([text(statement), Buffer.from(tail)]);

/** Requests whose frames are whole and whose bodies are not. */
function brokenBodies(version: number): [name: string, opcode: number, body: Buffer, frameFlags?: number][] {
  const bodies: [string, number, Buffer, number?][] = [];
  for (const [kind, statement] of [
    ['a read', SELECT],
    ['a write', INSERT],
  ] as const) {
    bodies.push(
      [`${kind} without parameters`, Opcode.QUERY, text(statement)],
      [`${kind} of a consistency that is none`, Opcode.QUERY, query(statement, 0, 99, ...flags(version, 0))],
      [`${kind} whose values are cut off`, Opcode.QUERY, query(statement, 0, 1, ...flags(version, 1), 0, 9)],
      [
        `${kind} with a value of a length that is none`,
        Opcode.QUERY,
        query(statement, 0, 1, ...flags(version, 1), 0, 1, 255, 255, 255, 249),
      ],
      [
        `${kind} with the lowest timestamp`,
        Opcode.QUERY,
        query(statement, 0, 1, ...flags(version, 0x20), 0x80, 0, 0, 0, 0, 0, 0, 0),
      ],
      [`${kind} that ends in its timestamp`, Opcode.QUERY, query(statement, 0, 1, ...flags(version, 0x20), 0x80, 0, 0)],
    );
  }
  bodies.push(
    ['a text that is no UTF-8', Opcode.QUERY, Buffer.from([0, 0, 0, 2, 0xc3, 0x28, 0, 1, ...flags(version, 0)])],
    ['a text longer than its body', Opcode.QUERY, Buffer.from([0, 0, 9, 0, 65])],
    ['a text of a negative length', Opcode.QUERY, Buffer.from([255, 255, 255, 255, 0, 1, ...flags(version, 0)])],
    ['nothing in a QUERY', Opcode.QUERY, Buffer.alloc(0)],
    ['nothing in a PREPARE', Opcode.PREPARE, Buffer.alloc(0)],
    ['a PREPARE that is cut off', Opcode.PREPARE, encodePrepare(SELECT, version).subarray(0, 20)],
    ['nothing in an EXECUTE', Opcode.EXECUTE, Buffer.alloc(0)],
    ['an EXECUTE that is cut off', Opcode.EXECUTE, Buffer.from([0, 16, 1, 2, 3])],
    ['nothing in a BATCH', Opcode.BATCH, Buffer.alloc(0)],
    ['a batch of an unknown kind', Opcode.BATCH, Buffer.from([9, 0, 0, 0, 1, ...flags(version, 0)])],
    ['a batch of an unknown statement', Opcode.BATCH, Buffer.from([0, 0, 1, 7, 0, 0, 0, 1, ...flags(version, 0)])],
    ['a batch with fewer statements than it says', Opcode.BATCH, Buffer.from([0, 0, 9, 0, 1, ...flags(version, 0)])],
    ['a REGISTER for what does not exist', Opcode.REGISTER, new BodyWriter().stringList(['NOTHING']).toBuffer()],
    ['a REGISTER that is cut off', Opcode.REGISTER, Buffer.from([0, 3, 0])],
    ['a custom payload that is cut off', Opcode.QUERY, Buffer.from([0, 9, 0, 1]), FrameFlag.CUSTOM_PAYLOAD],
    ['AUTH_RESPONSE behind the login', Opcode.AUTH_RESPONSE, Buffer.from([0, 0, 0, 0])],
    ['STARTUP behind the login', Opcode.STARTUP, new BodyWriter().short(0).toBuffer()],
    ['an opcode of answers', Opcode.RESULT, Buffer.from([0, 0, 0, 1])],
    ['an opcode that is none', 0x3f, Buffer.alloc(0)],
  );
  if (version < 4) {
    bodies.push(
      ['a custom payload', Opcode.QUERY, Buffer.concat([Buffer.from([0, 0]), encodeQuery(SELECT, {}, version)]), 4],
      ['an unset value', Opcode.QUERY, query(SELECT, 0, 1, ...flags(version, 1), 0, 1, 255, 255, 255, 254)],
    );
  }
  return bodies;
}

/** What a server makes of it: the error's code, under which stream id, and whether it listens any longer. */
async function outcome(place: HostAndPort, version: number, opcode: number, body: Buffer, frameFlags: number) {
  const client = await login(place, version);
  try {
    client.write(client.bytesOf(opcode, body, frameFlags, 7));
    const reply = await client.next();
    if (reply === undefined) return client.isClosed ? 'closed' : 'silent';
    const code = reply.opcode === Opcode.ERROR ? decodeError(reply.body, reply.version).code : undefined;
    client.write(client.bytesOf(Opcode.QUERY, encodeQuery(SELECT, {}, version), 0, 8));
    const next = await client.next(5000);
    return { code, streamId: reply.streamId, goesOn: next?.opcode === Opcode.RESULT };
  } finally {
    client.close();
  }
}

/** Another client of the same login, whose requests share connections with those of everybody. */
async function watched<T>(version: number, work: () => Promise<T>): Promise<T> {
  const bystander = new RawSide(await login(parts.listen, version), KEYSPACE, 0);
  let isOver = false;
  const traffic = (async () => {
    for (let count = 0; !isOver || count < 3; count++) {
      await bystander.query(INSERT.replace('items', 'others'));
      await bystander.query(SELECT.replace('items', 'others'));
    }
  })();
  try {
    return await work();
  } finally {
    isOver = true;
    await traffic;
    bystander.client.close();
    expect(new Set(bystander.seen).size, [...new Set(bystander.seen)].join('\n')).toBe(2);
  }
}

/**
 * Cassandra calls some of them its own failure, the late AUTH_RESPONSE a failed login, and closes v3 and v4 connections
 * on opcodes that it does not know; the proxy always says what it is, and goes on.
 */
function expectedOf(direct: Awaited<ReturnType<typeof outcome>>) {
  if (typeof direct === 'string') return direct;
  const isBroken = direct.code === ErrorCode.SERVER_ERROR || direct.code === ErrorCode.AUTH_ERROR;
  return { ...direct, code: isBroken ? ErrorCode.PROTOCOL_ERROR : direct.code, goesOn: true };
}

describe.each([3, 4, 5])('v%i: a request with a broken body', (version) => {
  test.each(brokenBodies(version))('%s', async (_, opcode, body, frameFlags = 0) => {
    const [direct, through] = await watched(version, () =>
      Promise.all([
        outcome(environment.origin, version, opcode, body, frameFlags),
        outcome(parts.listen, version, opcode, body, frameFlags),
      ]),
    );
    expect(through).toEqual(expectedOf(direct));
  });

  test.each([
    ['a read', SELECT],
    ['a write', `INSERT INTO ${KEYSPACE}.items (id, part, v) VALUES (1, 1, 'v') USING TTL 1000`],
  ])('%s that was prepared, cut at every byte and sent many times over', async (_, statement) => {
    await watched(version, async () => {
      const side = new RawSide(await login(parts.listen, version), KEYSPACE, 0);
      const { id, resultMetadataId } = await side.prepare(statement);
      const values = { values: [encodeInt(1), null], names: ['a', 'b'], pageSize: 5, timestampMicros: 7n };
      const whole = encodeExecute(id, values, version, resultMetadataId);
      for (let end = 0; end < whole.length; end++) {
        side.client.write(side.client.bytesOf(Opcode.EXECUTE, whole.subarray(0, end), 0, end));
      }
      const seen = new Map<number, number>();
      for (let end = 0; end < whole.length; end++) {
        const reply = await side.client.next();
        if (reply === undefined) throw new Error(`${end} of ${whole.length} requests were answered`);
        seen.set(reply.streamId, decodeError(reply.body, version).code);
      }
      expect([...new Set(seen.values())]).toEqual([ErrorCode.PROTOCOL_ERROR]);
      expect(seen.size).toBe(whole.length);
      side.client.close();
    });
  });

  test('any bytes in any request, and any byte of good ones changed', async () => {
    await watched(version, async () => {
      const side = new RawSide(await login(parts.listen, version), KEYSPACE, 0);
      const { id, resultMetadataId } = await side.prepare(`SELECT * FROM ${KEYSPACE}.items WHERE id = ? AND part = ?`);
      const values = { values: [encodeInt(1), encodeInt(2)] };
      const good: [number, Buffer][] = [
        [Opcode.QUERY, encodeQuery(SELECT, { pageSize: 3 }, version)],
        [Opcode.EXECUTE, encodeExecute(id, values, version, resultMetadataId)],
        [Opcode.BATCH, side.batchBody(0, [[INSERT], [INSERT]], { timestampMicros: 9n })],
        [Opcode.PREPARE, encodePrepare(SELECT, version)],
      ];
      const changed = fc
        .tuple(fc.constantFrom(...good), fc.nat(), fc.integer({ min: 1, max: 255 }))
        .map(([[opcode, body], at, mask]): [number, Buffer] => {
          const copy = Buffer.from(body);
          copy[at % copy.length] = copy[at % copy.length]! ^ mask;
          return [opcode, copy];
        });
      const random = fc.tuple(
        fc.constantFrom(Opcode.QUERY, Opcode.EXECUTE, Opcode.BATCH, Opcode.PREPARE, Opcode.REGISTER),
        fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
      );
      await fc.assert(
        fc.asyncProperty(fc.oneof(changed, random), async ([opcode, body]) => {
          const reply = await side.client.request(opcode, body, 0, 9);
          expect(reply.streamId).toBe(9);
        }),
        { numRuns: 100 },
      );
      side.client.close();
    });
  });
});

test.each([1, 2, 6, 0x41, 0x42, 0x7f])('version %i is refused so that a driver tries a lower one', async (version) => {
  const seen = await Promise.all(
    [environment.origin, parts.listen].map(async (place) => {
      const client = await RawClient.open(place, { version });
      client.write(encodeFrame({ version, isResponse: false, flags: 0, streamId: 5, opcode: Opcode.OPTIONS }, NOTHING));
      const reply = await client.next();
      client.close();
      if (reply === undefined) return 'closed';
      const { code, message } = decodeError(reply.body, reply.version);
      return { version: reply.version, code, isSaid: /unsupported protocol version/i.test(message) };
    }),
  );
  expect(seen[1]).toEqual({ version: 5, code: ErrorCode.PROTOCOL_ERROR, isSaid: true });
  // Cassandra refuses 6, a beta version, in other words, and answers versions that are long gone in those themselves.
  if (version > 6) expect(seen[1]).toEqual(seen[0]);
});
