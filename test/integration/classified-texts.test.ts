import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { plainAuthenticator } from '#adapters/cql/authenticator.ts';
import { type Connection, openConnection } from '#adapters/cql/connection.ts';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, flagsOf, opcodeOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { encodePrepare, encodeQuery } from '#core/cql/request-messages.ts';
import { responseOffset } from '#core/cql/result-message.ts';
import { CORPUS_KEYSPACE, CORPUS_SCHEMA, CQL_CORPUS } from '../support/cql-corpus.ts';
import { readTestEnvironment } from './support/test-environment.ts';

const environment = readTestEnvironment();

/** The texts by which the classifier is tested are what they claim to be: real servers parse them, and run none. */
describe.each(['origin', 'target'] as const)('the corpus of statements on the %s', (name) => {
  let connection: Connection;

  /** The error's code and message, or undefined. */
  async function errorOf(opcode: number, body: Buffer): Promise<{ code: number; message: string } | undefined> {
    const frame = await connection.request(opcode, body);
    const reply = bodyOf(frame);
    return opcodeOf(frame) === Opcode.ERROR ? decodeError(reply, 4, responseOffset(flagsOf(frame), reply)) : undefined;
  }

  const run = async (text: string): Promise<void> => {
    expect(await errorOf(Opcode.QUERY, encodeQuery(text, {}, 4))).toBeUndefined();
  };

  beforeAll(async () => {
    connection = await openConnection({
      node: { cluster: name, ...environment[name] },
      connectTimeoutMs: 5000,
      requestTimeoutMs: 60_000,
      protocolVersion: 4,
      minProtocolVersion: 4,
      compression: 'none',
      authenticator: plainAuthenticator(environment.username, environment.password),
    });
    await run(`DROP KEYSPACE IF EXISTS ${CORPUS_KEYSPACE}`);
    const replication = "{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
    await run(`CREATE KEYSPACE ${CORPUS_KEYSPACE} WITH replication = ${replication}`);
    for (const text of CORPUS_SCHEMA) await run(text);
    await run(`USE ${CORPUS_KEYSPACE}`);
  });

  afterAll(async () => {
    await run(`DROP KEYSPACE IF EXISTS ${CORPUS_KEYSPACE}`);
    connection?.close();
  });

  test('is what the classifier takes it for', async () => {
    const wrong: unknown[] = [];
    for (const { text, is, validOn } of CQL_CORPUS) {
      const error = await errorOf(Opcode.PREPARE, encodePrepare(text, 4));
      const isSyntax = error?.code === ErrorCode.SYNTAX_ERROR;
      const isData = is === 'read' || is === 'write' || is === 'lwt';
      const isValid = validOn === 'both' || (validOn === 'newer' && name === 'target');
      // Definitions and roles are checked against the schema and the rights when they are executed.
      if (isValid ? isSyntax || (isData && error) : validOn === 'none' && !error) wrong.push({ text, is, error });
      if (is === 'unknown' && !isSyntax) wrong.push({ text, is, error });
    }
    expect(wrong).toEqual([]);
  });
});
