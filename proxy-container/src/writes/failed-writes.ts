import { randomUUID } from 'node:crypto';
import { BatchKind } from '#core/cql/protocol.ts';
import { describeError } from '#core/errors.ts';
import type { Mark } from '#core/ledger/mark.ts';
import { valueLookup } from '#core/model/bound-values.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import type { FailedStatement, FailedWrite, TableName } from '#core/model/failed-write.ts';
import { encodeMessage } from '#core/model/message.ts';
import type { Logger } from '#core/ports.ts';
import { classify } from '#core/statement/classify.ts';
import { qualifyTables } from '#core/statement/qualify-tables.ts';
import type { Statement } from '#core/statement/statement.ts';
import { touchedRows } from '#core/statement/touched-rows.ts';
import type { Counters } from '../counters/counters.ts';
import type { Journal } from '../journal/journal.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { tablesWritten } from '../requests/count-tables.ts';
import { type SentStatements, sentStatements } from '../requests/sent-statements.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import { COUNTER, type Treatment, treatmentOf } from './replayable.ts';

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

/** Mutations that stand for a request on the other cluster, each with its own write time. */
export interface WriteCopy {
  readonly consistency: Consistency;
  readonly statements: readonly FailedStatement[];
  /** When their TTLs were read. */
  readonly writtenAtSeconds: number;
  /** For the message; the statements have their own. */
  readonly timestampMicros: bigint;
}

/** Why a request's tables may differ. */
export type Doubt = Pick<Mark, 'code' | 'reason' | 'lacking'>;

const LIST: Treatment = { code: 'list', obstacle: 'a list was written in a way that can not be read back' };

const BATCH_KINDS = {
  [BatchKind.LOGGED]: 'logged',
  [BatchKind.UNLOGGED]: 'unlogged',
  [BatchKind.COUNTER]: 'counter',
} as const;

/** The doubt that what a conditional write (LWT) left is on the cluster. @see docs/correctness.md trap 10 */
export function missingConditional(lacking: ClusterName, why: string): Doubt {
  return { code: 'conditional-missing', lacking, reason: `a conditional write (LWT) may be missing: ${why}` };
}

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
    this.#work(request, destination, reason, () => this.#keep(request, destination, epoch, reason));
  }

  /** Keeps the mutations that stand for a write. Never throws, never waits. */
  addCopy(request: ClientRequest, destination: ClusterName, epoch: number, reason: string, copy: WriteCopy): void {
    this.#work(request, destination, reason, async () => {
      const body =
        copy.statements.length === 1
          ? ({ kind: 'query', keyspace: null } as const)
          : ({ kind: 'batch', batchKind: 'unlogged', keyspace: null } as const);
      this.#journal(request, { ...this.#envelope(request, destination, epoch, reason), ...body, ...copy });
    });
  }

  #work(request: ClientRequest, lacking: ClusterName, reason: string, work: () => Promise<void>): void {
    this.#workCount++;
    work()
      .catch((error: unknown) => {
        this.#options.logger.error('a failed write could not be kept', { error: describeError(error) });
        this.mark(request, { code: 'other', lacking, reason: `a shadow write was lost: ${reason}` });
      })
      .finally(() => {
        this.#workCount--;
        if (this.#workCount === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
      });
  }

  /** Marks every table that the request writes. */
  mark(request: ClientRequest, doubt: Doubt): void {
    for (const { keyspace, table } of tablesOf(request)) {
      this.#options.marks.mark({ keyspace, table, tokens: null, ...doubt });
    }
  }

  /** Resolves when everything added so far is in the journal or marked. */
  idle(): Promise<void> {
    if (this.#workCount === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  async #keep(request: ClientRequest, destination: ClusterName, epoch: number, reason: string): Promise<void> {
    const sent = sentStatements(request, destination);
    const treatment = await this.#treatment(request, sent);
    if (typeof treatment === 'object') {
      this.#countUnqueueable(request);
      if (treatment.code === 'counter') this.#countLosses(request);
      const why = `a shadow write failed and can't be replayed: ${treatment.obstacle}`;
      this.mark(request, { code: treatment.code, lacking: destination, reason: why });
      return;
    }
    const readBack = treatment === 'readBack' ? ({ idempotent: false, readBack: true } as const) : {};
    const write = { ...this.#envelope(request, destination, epoch, reason), ...toMessage(request, sent), ...readBack };
    this.#journal(request, write);
  }

  #journal(request: ClientRequest, write: FailedWrite): void {
    const { counters, journal } = this.#options;
    const { instance } = this.#options;
    const enqueuedAt = new Date().toISOString();
    const body = encodeMessage({ kind: 'writes', instance, enqueuedAt, writes: [write] });
    if (Buffer.byteLength(body) > this.#options.maxMessageBytes) {
      this.#countUnqueueable(request);
      const reason = 'a shadow write failed and is too large for the queue';
      this.mark(request, { code: 'too-large', lacking: write.destination, reason });
      return;
    }
    if (journal.append({ id: write.id, body })) {
      counters.journaled++;
      return;
    }
    counters.journalFull++;
    const reason = 'a shadow write failed and the journal is full';
    this.mark(request, { code: 'journal-full', lacking: write.destination, reason });
  }

  #countUnqueueable(request: ClientRequest): void {
    const { counters } = this.#options;
    counters.shadowUnqueueable++;
    for (const table of tablesWritten(counters, request)) table.unqueueable++;
  }

  #countLosses(request: ClientRequest): void {
    for (const table of tablesWritten(this.#options.counters, request)) table.counterLosses++;
  }

  async #treatment(request: ClientRequest, sent: SentStatements): Promise<Treatment> {
    if (request.isCounterBatch) return COUNTER;
    if (request.timestampMicros === undefined) return { code: 'other', obstacle: 'it has no write time' };
    let isReadBack = false;
    let areRowsKnown = true;
    for (const [index, one] of sent.statements.entries()) {
      const { statement: own, entry } = request.statements[index]!;
      const statement = own.nonDeterministic.length > 0 ? classify(one.text) : own;
      if (statement.batchKind === 'counter') return COUNTER;
      for (const child of statement.kind === 'batch' ? statement.children : [statement]) {
        const table = tableOf(child, entry?.keyspace ?? request.keyspace);
        const facts = table && (await this.#options.facts.of(table.keyspace, table.table));
        const treatment = treatmentOf(child, facts);
        if (typeof treatment === 'object') return treatment;
        isReadBack ||= treatment === 'readBack';
        const place = { statement: child, keyspace: table?.keyspace ?? '', valueOf: valueLookup(one) };
        const rows = facts && touchedRows(place, facts);
        areRowsKnown &&= rows?.every(({ hasTtl, collections }) => !hasTtl || collections.length === 0) ?? false;
      }
    }
    if (!isReadBack) return 'replay';
    return areRowsKnown ? 'readBack' : LIST;
  }

  /** What every message says. */
  #envelope(request: ClientRequest, destination: ClusterName, epoch: number, reason: string) {
    return {
      id: randomUUID(),
      tables: tablesOf(request),
      epoch,
      destination,
      idempotent: true,
      reason: reason.slice(0, 500),
      expiresAtSeconds: null,
      attempts: 1,
    } as const;
  }
}

function toMessage(request: ClientRequest, { layout, statements }: SentStatements) {
  const { batchKind } = request;
  const keyspaces = request.statements.map(({ entry }) => entry?.keyspace ?? request.keyspace);
  const isOfOne = new Set(keyspaces).size <= 1;
  return {
    keyspace: (isOfOne ? keyspaces[0] : undefined) ?? null,
    consistency: layout.consistency,
    timestampMicros: request.timestampMicros!,
    writtenAtSeconds: layout.nowInSeconds ?? request.takenAtSeconds,
    kind: batchKind === undefined ? 'query' : 'batch',
    ...(batchKind === undefined ? {} : { batchKind: BATCH_KINDS[batchKind as BatchKind] ?? 'logged' }),
    statements: isOfOne ? statements : statements.map((one, index) => qualified(one, keyspaces[index])),
  } as const;
}

/** For a batch whose statements were prepared in several keyspaces. */
function qualified(statement: FailedStatement, keyspace: string | undefined): FailedStatement {
  return keyspace === undefined ? statement : { ...statement, text: qualifyTables(statement.text, keyspace) };
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
