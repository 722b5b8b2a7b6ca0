import { randomUUID } from 'node:crypto';
import { HEADER_BYTES } from '#core/cql/frame.ts';
import { BatchKind } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues, requestOffset, type StatementLayout } from '#core/cql/request-layout.ts';
import { describeError } from '#core/errors.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { encodeFailedWrite, type FailedStatement, type FailedWrite, type TableName } from '#core/model/failed-write.ts';
import type { Logger } from '#core/ports.ts';
import type { Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from './client-request.ts';
import { tablesWritten } from './count-tables.ts';
import type { Counters } from './counters.ts';
import type { Journal } from './journal/journal.ts';
import type { SuspectMarks } from './journal/suspect-marks.ts';
import { whyNotReplayable } from './replayable.ts';
import type { SchemaFacts } from './schema-facts.ts';
import type { ClusterName } from './upstream/cluster.ts';

export interface FailedWritesOptions {
  readonly instance: string;
  readonly journal: Journal;
  readonly marks: SuspectMarks;
  readonly facts: SchemaFacts;
  readonly counters: Counters;
  readonly logger: Logger;
  /** Larger messages have nowhere to go. Bytes. */
  readonly maxMessageBytes: number;
}

const BATCH_KINDS = {
  [BatchKind.LOGGED]: 'logged',
  [BatchKind.UNLOGGED]: 'unlogged',
  [BatchKind.COUNTER]: 'counter',
} as const;

/** What becomes of a write that one cluster has and the other one does not: the journal, or a suspect mark. */
export class FailedWrites {
  readonly #options: FailedWritesOptions;
  #workCount = 0;
  #whenIdle: (() => void)[] = [];

  constructor(options: FailedWritesOptions) {
    this.#options = options;
  }

  /** Keeps the write for replay where that is safe, and marks its tables where it is not. Never throws, never waits. */
  add(request: ClientRequest, destination: ClusterName, epoch: number, reason: string): void {
    this.#workCount++;
    this.#keep(request, destination, epoch, reason)
      .catch((error: unknown) => {
        this.#options.logger.error('a failed write could not be kept', { error: describeError(error) });
        this.mark(request, `a shadow write was lost: ${reason}`);
      })
      .finally(() => {
        this.#workCount--;
        if (this.#workCount === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
      });
  }

  /** Marks every table that the request writes. */
  mark(request: ClientRequest, reason: string): void {
    for (const { keyspace, table } of tablesOf(request)) this.#options.marks.mark(keyspace, table, reason);
  }

  /** Resolves when everything added so far is in the journal or marked. */
  idle(): Promise<void> {
    if (this.#workCount === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  async #keep(request: ClientRequest, destination: ClusterName, epoch: number, reason: string): Promise<void> {
    const { counters, journal } = this.#options;
    const obstacle = await this.#obstacle(request);
    if (obstacle !== undefined) {
      this.#countUnqueueable(request);
      this.mark(request, `a shadow write failed and can't be replayed: ${obstacle}`);
      return;
    }
    const write = this.#toMessage(request, destination, epoch, reason);
    const body = encodeFailedWrite(write);
    if (Buffer.byteLength(body) > this.#options.maxMessageBytes) {
      this.#countUnqueueable(request);
      this.mark(request, 'a shadow write failed and is too large for the queue');
      return;
    }
    if (journal.append({ id: write.id, body })) {
      counters.journaled++;
      return;
    }
    counters.journalFull++;
    this.mark(request, 'a shadow write failed and the journal is full');
  }

  #countUnqueueable(request: ClientRequest): void {
    const { counters } = this.#options;
    counters.shadowUnqueueable++;
    for (const table of tablesWritten(counters, request)) table.unqueueable++;
  }

  async #obstacle(request: ClientRequest): Promise<string | undefined> {
    if (request.isCounterBatch) return 'a counter was incremented';
    if (request.timestampMicros === undefined) return 'it has no write time';
    const keyspaces = new Set(request.statements.map(({ entry }) => entry?.keyspace ?? request.keyspace));
    if (keyspaces.size > 1 && request.statements.length > 1) return 'its statements were prepared in several keyspaces';
    for (const { statement, entry } of request.statements) {
      if (statement.batchKind === 'counter') return 'a counter was incremented';
      for (const one of statement.kind === 'batch' ? statement.children : [statement]) {
        const table = tableOf(one, entry?.keyspace ?? request.keyspace);
        const facts = table && (await this.#options.facts.of(table.keyspace, table.table));
        const obstacle = whyNotReplayable(one, facts);
        if (obstacle !== undefined) return obstacle;
      }
    }
    return undefined;
  }

  #toMessage(request: ClientRequest, destination: ClusterName, epoch: number, reason: string): FailedWrite {
    const frame = request.frameFor(destination);
    const offset = HEADER_BYTES + requestOffset(frame[1]!, frame.subarray(HEADER_BYTES));
    const layout = readRequestLayout(request.opcode, frame, request.version, offset);
    const batchKind = request.batchKind;
    return {
      version: 1,
      id: randomUUID(),
      keyspace: request.statements[0]?.entry?.keyspace ?? request.keyspace ?? null,
      tables: tablesOf(request),
      consistency: layout.consistency,
      timestampMicros: request.timestampMicros!,
      writtenAtSeconds: layout.nowInSeconds ?? request.takenAtSeconds,
      epoch,
      destination,
      kind: batchKind === undefined ? 'query' : 'batch',
      ...(batchKind === undefined ? {} : { batchKind: BATCH_KINDS[batchKind as BatchKind] ?? 'logged' }),
      statements: layout.statements.map((one, index) =>
        toStatement(frame, one, request.statements[index]?.entry?.text),
      ),
      idempotent: true,
      reason: reason.slice(0, 500),
      attempts: 1,
      enqueuedAt: new Date().toISOString(),
      instance: this.#options.instance,
    };
  }
}

function toStatement(frame: Buffer, layout: StatementLayout, preparedText: string | undefined): FailedStatement {
  const values = readValues(frame, layout);
  const text = layout.text ?? preparedText ?? '';
  const names = values.map(({ name }) => name);
  if (names[0] === undefined) return { text, values: values.map(({ value }) => value) };
  return { text, values: new Map<string, BoundValue>(values.map(({ name, value }) => [name!, value])) };
}

/** Every table that a request writes, once. */
export function tablesOf(request: ClientRequest): TableName[] {
  const tables = new Map<string, TableName>();
  for (const { statement, entry } of request.statements) {
    for (const one of statement.kind === 'batch' ? statement.children : [statement]) {
      const table = tableOf(one, entry?.keyspace ?? request.keyspace);
      if (table) tables.set(`${table.keyspace}.${table.table}`, table);
    }
  }
  return [...tables.values()];
}

function tableOf(statement: Statement, keyspaceInForce: string | undefined): TableName | undefined {
  const keyspace = statement.keyspace ?? keyspaceInForce;
  return keyspace === undefined || statement.table === undefined ? undefined : { keyspace, table: statement.table };
}
