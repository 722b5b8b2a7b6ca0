import { createHash } from 'node:crypto';
import { Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import type { BoundValue, Consistency } from '#core/model/cql-request.ts';
import type { LoadSession, PreparedStatement } from '#core/ports.ts';

/** One BATCH as a server understands it. */
export interface SentBatch {
  readonly entries: readonly { readonly text: string; readonly values: readonly BoundValue[] }[];
  readonly consistency: Consistency;
  readonly nowInSeconds: number | undefined;
  readonly routingKey: Uint8Array | undefined;
}

/** The statement that `text` is prepared to: its id is a hash, as a server's. */
export function preparedOf(text: string): PreparedStatement {
  return { text, id: createHash('md5').update(text).digest() };
}

/** A batch body, decoded apart from the code that made it. */
export function decodeBatch(
  body: Uint8Array,
  statements: readonly PreparedStatement[],
  version: number,
  routingKey?: Uint8Array,
): SentBatch {
  // A copy: the body's memory is used again once the batch is answered.
  const bytes = Buffer.from(body);
  const layout = readRequestLayout(Opcode.BATCH, bytes, version);
  const textOf = new Map(statements.map(({ id, text }) => [Buffer.from(id).toString('hex'), text]));
  const entries = layout.statements.map((statement) => {
    const text = textOf.get(statement.id!.toString('hex'));
    if (text === undefined) throw new Error('a statement of the batch is not among those that it names');
    return { text, values: readValues(bytes, statement).map(({ value }) => value) };
  });
  return { entries, consistency: layout.consistency, nowInSeconds: layout.nowInSeconds, routingKey };
}

/** A target that takes batches only. */
export function createLoadSession(
  onBatch: (batch: SentBatch) => Promise<void> | void,
  { protocolVersion = 5, replicaSet = (_: bigint): number | undefined => 0 } = {},
): LoadSession {
  const refuse = async (): Promise<never> => {
    throw new Error('a load sends batches only');
  };
  return {
    protocolVersion,
    query: refuse,
    execute: refuse,
    batch: refuse,
    prepare: async (text) => preparedOf(text),
    sendBatch: async (body, statements, options) =>
      onBatch(decodeBatch(body, statements, protocolVersion, options?.routingKey)),
    replicaSet,
    close: async () => undefined,
  };
}
