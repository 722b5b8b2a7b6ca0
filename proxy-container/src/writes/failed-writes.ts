import { describeError } from '#core/errors.ts';
import type { Mark } from '#core/ledger/mark.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { TableName, WrittenTable } from '#core/model/failed-write.ts';
import type { TableFacts } from '#core/model/table-facts.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { InFlight } from '../in-flight/in-flight-port.ts';
import { inSlices } from '../in-slices.ts';
import type { ChunkWrite } from '../journal/chunk.ts';
import type { Journal } from '../journal/journal.ts';
import type { SuspectMarks } from '../journal/suspect-marks.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import { tablesWritten } from '../requests/count-tables.ts';
import { tokensOf } from '../requests/routing-token.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import { keptCopy, keptForm, UsualForms, type WriteCopy } from './kept-form.ts';
import { type FactsOf, tablesOf, treatmentOfRequest } from './treat-request.ts';

export interface FailedWritesOptions {
  readonly journal: Pick<Journal, 'add' | 'settledAtMs'>;
  readonly marks: SuspectMarks;
  readonly facts: SchemaFacts;
  readonly inFlight: InFlight;
  readonly counters: Counters;
  readonly logger: Logger;
  /** Larger messages have nowhere to go. */
  readonly maxMessageBytes: number;
}

/** Why a request's tables may differ. */
export type Doubt = Pick<Mark, 'code' | 'reason' | 'lacking'>;

/** The doubt that what a conditional write (LWT) left is on the cluster. @see docs/correctness.md trap 10 */
export function missingConditional(lacking: ClusterName, why: string): Doubt {
  return { code: 'conditional-missing', lacking, reason: `a conditional write (LWT) may be missing: ${why}` };
}

/** The doubt that a copy ends at another time than the original. @param late where; null: on either cluster */
export function lateTtl(late: ClusterName | null): Doubt {
  const reason = 'a write with a TTL reached the clusters so far apart that it ends later on one of them';
  return { code: 'late-ttl', lacking: late, reason };
}

/** A failed copy. */
interface PendingWrite {
  readonly request: ClientRequest;
  readonly destination: ClusterName;
  readonly epoch: number;
  readonly reason: string;
}

/** What becomes of a write that one cluster has and the other one does not: the journal, or a suspect mark. */
export class FailedWrites {
  readonly #options: FailedWritesOptions;
  readonly #usual = new UsualForms();
  /** Since when each waits for what is known of its tables, oldest first. Milliseconds since the epoch. */
  readonly #waiting = new Map<ClientRequest, number>();
  /** The same by the tables that they write. */
  readonly #pending = new Map<string, PendingWrite[]>();
  #whenIdle: (() => void)[] = [];

  constructor(options: FailedWritesOptions) {
    this.#options = options;
  }

  /** What failed before is in the queue, or marked. Milliseconds since the epoch. */
  get settledAtMs(): number {
    const [first = Number.POSITIVE_INFINITY] = this.#waiting.values();
    return Math.min(first, this.#options.journal.settledAtMs);
  }

  /** Keeps the write for replay where that is safe, and marks its tables where it is not. Never throws, never waits. */
  add(request: ClientRequest, destination: ClusterName, epoch: number, reason: string): void {
    const { facts } = this.#options;
    const write = { request, destination, epoch, reason };
    try {
      if (this.#keepUsual(write)) return;
      const tables = tablesOf(request);
      const known = tables.map(({ keyspace, table }) => facts.known(keyspace, table));
      if (known.every((one) => one !== undefined)) {
        this.#treat(write, tables, known);
        return;
      }
      this.#waiting.set(request, Date.now());
      this.#treatWhenKnown(write, tables);
    } catch (error) {
      this.#lose(request, destination, reason, error);
    }
  }

  /** Keeps the mutations that stand for a write. Never throws, never waits. */
  addCopy(request: ClientRequest, destination: ClusterName, epoch: number, reason: string, copy: WriteCopy): void {
    try {
      const tables = tablesOf(request);
      this.#keep(request, keptCopy(copy, { destination, epoch, reason, tables, isReadBack: false }));
    } catch (error) {
      this.#lose(request, destination, reason, error);
    }
  }

  /** Marks every table that the request writes. */
  mark(request: ClientRequest, doubt: Doubt): void {
    const { marks, facts } = this.#options;
    for (const { keyspace, table } of tablesOf(request)) {
      const tokens = tokensOf(request, facts, { keyspace, table });
      marks.mark({ keyspace, table, tokens, ...doubt });
    }
  }

  /** Resolves when everything added so far is in the journal's hands or marked. */
  idle(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  /** Of a table that nobody describes for seconds, thousands may wait: together, and treated a few at a time. */
  #treatWhenKnown(write: PendingWrite, tables: readonly TableName[]): void {
    const key = JSON.stringify(tables);
    const others = this.#pending.get(key);
    if (others !== undefined) {
      others.push(write);
      return;
    }
    const all = [write];
    this.#pending.set(key, all);
    const { facts } = this.#options;
    void Promise.all(tables.map(({ keyspace, table }) => facts.of(keyspace, table)))
      .catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
      .then((known) => {
        this.#pending.delete(key);
        return inSlices(all, (one) => this.#treatNow(one, tables, known));
      });
  }

  #treatNow(
    write: PendingWrite,
    tables: readonly TableName[],
    known: readonly (TableFacts | undefined)[] | Error,
  ): void {
    const { request, destination, reason } = write;
    try {
      if (known instanceof Error) throw known;
      if (!this.#keepUsual(write)) this.#treat(write, tables, known);
    } catch (error) {
      this.#lose(request, destination, reason, error);
    } finally {
      this.#waiting.delete(request);
      if (this.#waiting.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
  }

  /** One like those before it; false: it is not. */
  #keepUsual({ request, destination, epoch, reason }: PendingWrite): boolean {
    const { facts } = this.#options;
    const kept = this.#usual.find(request, destination, epoch, reason, (keyspace, table) =>
      facts.known(keyspace, table),
    );
    if (kept !== undefined) this.#keep(request, kept);
    return kept !== undefined;
  }

  #treat(write: PendingWrite, tables: readonly TableName[], facts: readonly (TableFacts | undefined)[]): void {
    const { request, destination, epoch, reason } = write;
    const factsOf: FactsOf = ({ keyspace, table }) =>
      facts[tables.findIndex((one) => one.keyspace === keyspace && one.table === table)];
    const treatment = treatmentOfRequest(request, destination, factsOf);
    if (typeof treatment === 'object') {
      this.#countUnqueueable(request);
      if (treatment.code === 'counter') this.#countLosses(request);
      const why = `a shadow write failed and can't be replayed: ${treatment.obstacle}`;
      this.#markAndEnd(request, { code: treatment.code, lacking: destination, reason: why });
      return;
    }
    if (treatment === 'replay') this.#usual.learn(request, tables, facts[0]);
    const isReadBack = treatment === 'readBack';
    this.#keep(request, keptForm(request, { destination, epoch, reason, tables, isReadBack }));
  }

  #keep(request: ClientRequest, write: ChunkWrite): void {
    const { counters, journal, maxMessageBytes } = this.#options;
    if (write.frame.length > maxMessageBytes) {
      // Its message is larger still.
      this.#countUnqueueable(request);
      const reason = 'a shadow write failed and is too large for the queue';
      this.#markAndEnd(request, { code: 'too-large', lacking: write.destination, reason });
      return;
    }
    if (journal.add({ ...write, tables: this.#withTokens(request, write.tables) }, request.sequence)) return;
    counters.journalFull++;
    const reason = 'a shadow write failed and the journal is full';
    this.#markAndEnd(request, { code: 'journal-full', lacking: write.destination, reason });
  }

  /** What becomes too old for a replay is compared there. */
  #withTokens(request: ClientRequest, tables: readonly TableName[]): readonly WrittenTable[] {
    return tables.map(({ keyspace, table }) => {
      const tokens = tokensOf(request, this.#options.facts, { keyspace, table });
      return tokens === null ? { keyspace, table } : { keyspace, table, tokens };
    });
  }

  #lose(request: ClientRequest, lacking: ClusterName, reason: string, error: unknown): void {
    this.#options.logger.error('a failed write could not be kept', { error: describeError(error) });
    this.#markAndEnd(request, { code: 'other', lacking, reason: `a shadow write was lost: ${reason}` });
  }

  #markAndEnd(request: ClientRequest, doubt: Doubt): void {
    this.mark(request, doubt);
    this.#options.inFlight.done(request.sequence);
  }

  #countUnqueueable(request: ClientRequest): void {
    const { counters } = this.#options;
    counters.shadowUnqueueable++;
    for (const table of tablesWritten(counters, request)) table.unqueueable++;
  }

  #countLosses(request: ClientRequest): void {
    for (const table of tablesWritten(this.#options.counters, request)) table.counterLosses++;
  }
}
