import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plainAuthenticator } from '#adapters/cql/authenticator.ts';
import { type Connection, openConnection } from '#adapters/cql/connection.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { rewritePrepared } from '#core/cql/hidden-markers.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { applyEdits, requestEdits } from '#core/cql/request-edit.ts';
import { readRequestLayout } from '#core/cql/request-layout.ts';
import { encodeExecute, encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { decodeResult, type PreparedMessage, type ResultMessage, responseOffset } from '#core/cql/result-message.ts';
import { decodeUuid, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { insertMarkers, replaceFunctions } from '#core/statement/functions.ts';
import { evaluateCall } from '#core/statement/generated-value.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const environment = readTestEnvironment();
const keyspace = 'ringshift_functions_test';
const source = { nowMillis: Date.now, randomBytes: () => randomBytes(16) };

/** What a proxy does with a prepared statement: real servers decide whether it is right. */
describe.each([
  ['origin', 4, 'none'],
  ['origin', 5, 'lz4'],
  ['target', 3, 'lz4'],
  ['target', 5, 'none'],
] as const)('on the %s in v%i with compression %s', (name, version, compression) => {
  let connection: Connection;

  async function ask(opcode: number, body: Buffer): Promise<{ result: ResultMessage; body: Buffer; offset: number }> {
    const frame = await connection.request(opcode, body);
    const reply = bodyOf(frame);
    const offset = responseOffset(flagsOf(frame), reply);
    if (opcodeOf(frame) === Opcode.ERROR) throw new Error(decodeError(reply, version, offset).message);
    return { result: decodeResult(reply, version, offset), body: reply, offset };
  }

  async function query(text: string): Promise<readonly (readonly (Buffer | null)[])[]> {
    const { result } = await ask(Opcode.QUERY, encodeQuery(text, {}, version));
    return result.kind === 'rows' ? result.rows : [];
  }

  beforeAll(async () => {
    connection = await openConnection({
      node: { cluster: name, ...environment[name] },
      connectTimeoutMs: 5000,
      requestTimeoutMs: 20_000,
      protocolVersion: version,
      minProtocolVersion: version,
      compression,
      authenticator: plainAuthenticator(environment.username, environment.password),
    });
    const replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    await query(`DROP KEYSPACE IF EXISTS ${keyspace}`);
    await query(`CREATE KEYSPACE ${keyspace} WITH replication = ${replication}`);
    await query(`CREATE TYPE ${keyspace}.addr (a timeuuid, b date)`);
    await query(
      `CREATE TABLE ${keyspace}.t (id int PRIMARY KEY, ts timeuuid, v text, at timestamp, d date, tm time, u uuid, tu frozen<tuple<timeuuid, int>>, n bigint,
        b blob, li list<timeuuid>, se set<uuid>, ma map<text, timestamp>, fl frozen<list<timeuuid>>, ad frozen<addr>)`,
    );
  });

  afterAll(async () => {
    await query(`DROP KEYSPACE IF EXISTS ${keyspace}`);
    connection.close();
  });

  async function prepare(text: string): Promise<{
    /** As the client sees it. */
    shown: PreparedMessage;
    execute(values: readonly Buffer[], names?: readonly string[]): Promise<void>;
  }> {
    const { text: withMarkers, inserted } = insertMarkers(text);
    const { body, offset, result } = await ask(Opcode.PREPARE, encodePrepare(withMarkers, version));
    if (result.kind !== 'prepared') throw new Error('not prepared');
    const { id, resultMetadataId } = result.prepared;
    const rewritten = rewritePrepared(body, version, { hidden: inserted.map(({ position }) => position) }, offset);
    const shown = decodeResult(rewritten, version, offset);
    if (shown.kind !== 'prepared') throw new Error('not prepared');
    return {
      shown: shown.prepared,
      async execute(values, names) {
        const request = encodeExecute(id, { values, ...(names ? { names } : {}) }, version, resultMetadataId);
        const added = inserted.map(({ position, name: markerName, call }) => ({
          position,
          ...(markerName === undefined ? {} : { name: markerName }),
          value: evaluateCall(call, source).bytes,
        }));
        const layout = readRequestLayout(Opcode.EXECUTE, request, version);
        const edits = requestEdits(request, layout, version, { values: new Map([[0, added]]) });
        await ask(Opcode.EXECUTE, applyEdits(request, edits));
      },
    };
  }

  test.each([
    ['(id,ts) VALUES (?,now())', ['id']],
    ['(id,ts,v) VALUES (?,now(),?)', ['id', 'v']],
    ['(ts,id,v) VALUES (now(),?,?)', ['id', 'v']],
    ['(id,ts,v) VALUES (:id,now(),:v)', ['id', 'v']],
  ])(
    'a prepared %s shows the client its own columns and key, and stores what was generated',
    async (shape, columns) => {
      const { shown, execute } = await prepare(`INSERT INTO ${keyspace}.t ${shape}`);
      expect(shown.markers.map((marker) => marker.name)).toEqual(columns);
      // v3 knows no key indexes.
      expect(shown.partitionKeyIndexes).toEqual(version >= 4 ? [0] : []);
      const values = [encodeInt(7), encodeText('seven')].slice(0, columns.length);
      for (const names of shape.includes(':') ? [undefined, columns] : [undefined]) {
        await query(`DELETE FROM ${keyspace}.t WHERE id = 7`);
        await execute(values, names);
        const [row] = await query(`SELECT ts, v FROM ${keyspace}.t WHERE id = 7`);
        expect(decodeUuid(row![0]!)[14]).toBe('1');
        expect(row![1]?.toString()).toBe(columns.includes('v') ? 'seven' : undefined);
      }
    },
  );

  const everything = `INSERT INTO ${keyspace}.t (id, ts, at, d, tm, u, tu, n) VALUES
    (8, currentTimeUUID(), toTimestamp(now()), currentDate(), currentTime(), uuid(), (now(), 1), toUnixTimestamp(now()))`;

  test.each(['as a text', 'prepared'])('every function in every place is accepted, %s', async (how) => {
    await query(`DELETE FROM ${keyspace}.t WHERE id = 8`);
    if (how === 'prepared') await (await prepare(everything)).execute([]);
    else await query(replaceFunctions(everything, (call) => evaluateCall(call, source).literal).text);
    const [row] = await query(`SELECT id, ts, at, d, tm, u, tu, n FROM ${keyspace}.t WHERE id = 8`);
    expect(row!.every((value) => value !== null)).toBe(true);
    const millis = Number(row![2]!.readBigInt64BE());
    expect(Math.abs(Date.now() - millis)).toBeLessThan(3_600_000);
    expect(decodeUuid(row![6]!.subarray(4, 20))[14]).toBe('1');
    const [again] = await query(`SELECT toTimestamp(ts), toTimestamp(d) FROM ${keyspace}.t WHERE id = 8`);
    expect(Math.abs(Number(again![0]!.readBigInt64BE()) - millis)).toBeLessThan(60_000);
    expect(Number(again![1]!.readBigInt64BE()) % 86_400_000).toBe(0);
  });

  test.each([
    ['n', 'currentTimestamp()'],
    ['d', 'currentTimestamp()'],
    ['at', 'currentDate()'],
    ['v', 'toUnixTimestamp(now())'],
    ['ts', 'uuid()'],
    ['u', 'now()'],
    ['tu', '[now()]'],
    ['n', 'currentTime()'],
    ['ts', 'NOW()'],
    ['ts', '"now"()'],
    ['ts', '"NOW"()'],
    ['ts', 'system.now()'],
    ['ts', 'now ( /* none */ )'],
    ['ts', 'now(1)'],
    ['ts', 'minTimeuuid(toTimestamp(now()))'],
    ['ts', 'maxTimeuuid(currentTimestamp())'],
    ['ts', 'minTimeuuid(now())'],
    ['at', 'currentTimestamp() - 2d'],
    ['d', 'toDate(toTimestamp(now()))'],
    ['at', 'toTimestamp(toDate(now()))'],
    ['at', 'toTimestamp(uuid())'],
    ['n', 'toUnixTimestamp(currentDate())'],
    ['b', 'timeuuidAsBlob(now())'],
    ['b', 'bigintAsBlob(toUnixTimestamp(now()))'],
    ['v', 'uuid()'],
    ['tu', '(now(), 1)'],
    ['li', '[now(), now()]'],
    ['se', '{uuid(), uuid()}'],
    ['ma', "{'k': toTimestamp(now())}"],
    ['fl', '[now()]'],
    ['ad', '{a: now(), b: currentDate()}'],
    ['ad', '{a: now(), b: toDate(uuid())}'],
  ])('column %s = %s is taken or refused as the server itself would', async (column, call) => {
    await expectSameVerdict(`INSERT INTO ${keyspace}.t (id, ${column}) VALUES (9, ${call})`);
  });

  test.each([
    'UPDATE ks.t SET at = currentTimestamp(), ts = now() WHERE id = 9',
    "UPDATE ks.t SET v = 'x' WHERE id = 9 IF at < currentTimestamp()",
    'UPDATE ks.t SET u = uuid() WHERE id = 9 IF EXISTS',
    'UPDATE ks.t SET li = li + [now()], se = {uuid()} WHERE id = 9',
    "UPDATE ks.t SET ma['now()'] = toTimestamp(now()) WHERE id = 9",
    'DELETE FROM ks.t WHERE id = 9 IF at < currentTimestamp()',
    'DELETE FROM ks.t WHERE id = now()',
    'INSERT INTO ks.t (id, ts) VALUES (9, now()) IF NOT EXISTS USING TTL 50',
    'INSERT INTO ks.t (id, v) VALUES (9, ?) USING TTL now()',
    'BEGIN BATCH INSERT INTO ks.t (id, ts) VALUES (9, now()); INSERT INTO ks.t (id, u) VALUES (10, uuid()) APPLY BATCH',
  ])('%s is taken or refused as the server itself would', async (text) => {
    await expectSameVerdict(text.replaceAll('ks.t', `${keyspace}.t`));
  });

  test.each([
    ['n', 'unixTimestampOf(now())'],
    ['at', 'dateOf(now())'],
    ['at', 'current_timestamp()'],
    ['d', 'to_date(now())'],
    ['tm', 'current_time()'],
    ['ts', 'current_timeuuid()'],
  ])('column %s = %s, which not every version has, is evaluated for those that lack it', async (column, call) => {
    const text = `INSERT INTO ${keyspace}.t (id, ${column}) VALUES (9, ${call})`;
    await query(replaceFunctions(text, (one) => evaluateCall(one, source).literal).text);
    await (await prepare(text)).execute([]);
  });

  async function expectSameVerdict(text: string): Promise<void> {
    const verdict = (attempt: Promise<unknown>): Promise<boolean> =>
      attempt.then(
        () => true,
        () => false,
      );
    const own = await verdict(query(text));
    const literal = replaceFunctions(text, (one) => evaluateCall(one, source).literal).text;
    expect(await verdict(query(literal)), 'as a text').toBe(own);
    expect(await verdict(prepare(text).then(({ execute }) => execute([]))), 'prepared').toBe(own);
  }
});
