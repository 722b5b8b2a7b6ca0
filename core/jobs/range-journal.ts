/** What the ledger is told of one range of a load: how far it came, its counts, and what has to be compared later. */

import { describeError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { RangeRecord } from '../ledger/records.ts';
import type { GroupingLoss } from '../merge/grouping-options.ts';
import type { Clock, Logger } from '../ports.ts';
import { encodePlace, type LoadPlace } from './load-place.ts';
import type { LoadItem } from './load-plan.ts';
import { requireUnderWay } from './run-under-way.ts';

interface RangeJournalPorts {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
}

type Counts = Readonly<Record<string, number>>;

const PROGRESS_INTERVAL_MS = 3000;

/** Why a table has to be compared after a load that met this; the other losses need no repair. */
const SUSPICIONS: Readonly<Partial<Record<GroupingLoss, string>>> = {
  unclearListCell:
    'list elements of the moment when only some proxies wrote to both clusters: they may stand twice or not at all',
  listExpiry: 'a list whose elements expire at too many different times was loaded with the longest life of them',
};

export class RangeJournal {
  readonly #item: LoadItem;
  readonly #ports: RangeJournalPorts;
  readonly #counts: Record<string, number>;
  /** Counts of this call, and those of before it, to which they are added. */
  #ofCall: (() => { readonly sums: Counts; readonly values: Counts }) | undefined;
  #before: Counts = {};
  #savedAt = 0;
  /** Losses to tell the ledger of before it is told of any progress, and those it knows. */
  readonly #toMark = new Map<string, { readonly code: ReasonCode; readonly reason: string }>();
  readonly #marked = new Set<string>();

  constructor(item: LoadItem, known: RangeRecord | undefined, ports: RangeJournalPorts) {
    this.#item = item;
    this.#ports = ports;
    this.#counts = { ...known?.counts };
  }

  get counts(): Counts {
    return this.#counts;
  }

  add(name: string, by: number): void {
    this.#counts[name] = (this.#counts[name] ?? 0) + by;
  }

  set(name: string, value: number): void {
    this.#counts[name] = value;
  }

  /** @param ofCall asked at each `save`: what to add to the counts of before this call, and what to put in their place */
  follow(ofCall: () => { readonly sums: Counts; readonly values: Counts }): void {
    this.#ofCall = ofCall;
    this.#before = { ...this.#counts };
  }

  lost(loss: GroupingLoss): void {
    this.add(loss, 1);
    const reason = SUSPICIONS[loss];
    if (reason !== undefined) this.suspect(loss, 'list-expiry', reason);
  }

  /** The ledger is told once for each `what`, before it is told of progress. */
  suspect(what: string, code: ReasonCode, reason: string): void {
    if (!this.#marked.has(what)) this.#toMark.set(what, { code, reason });
  }

  get isSaveDue(): boolean {
    return this.#ports.clock.nowMillis() - this.#savedAt >= PROGRESS_INTERVAL_MS;
  }

  /** @param place what is on the target; everything before it, too */
  async save(state: RangeRecord['state'], place: LoadPlace, error: RangeRecord['error'] = null): Promise<void> {
    const { clock, ledger } = this.#ports;
    if (state === 'running') await requireUnderWay(this.#item.runId, ledger);
    const { sums = {}, values = {} } = this.#ofCall?.() ?? {};
    for (const [name, value] of Object.entries(sums)) {
      const sum = (this.#before[name] ?? 0) + value;
      if (sum > 0) this.#counts[name] = sum;
    }
    Object.assign(this.#counts, values);
    await this.#mark();
    this.#savedAt = clock.nowMillis();
    const { runId, index, keyspace, table } = this.#item;
    await ledger.putRange({
      version: 1,
      runId,
      index,
      keyspace,
      table,
      state,
      checkpoint: encodePlace(place),
      counts: { ...this.#counts, bytes: this.#item.bytes },
      error,
      updatedAt: new Date(this.#savedAt).toISOString(),
    });
  }

  /** Never throws: the error that ended the range is the one to report. */
  async recordFailure(error: unknown, place: LoadPlace): Promise<void> {
    const { logger } = this.#ports;
    const { runId, index, keyspace, table } = this.#item;
    logger.error('a range could not be loaded', { runId, index, keyspace, table, error: describeError(error) });
    const name = error instanceof Error ? error.name : 'Error';
    try {
      await this.save('failed', place, { name, message: describeError(error).slice(0, 2000) });
    } catch (cause) {
      logger.error('and the ledger did not take it', { runId, index, error: describeError(cause) });
    }
  }

  /** A checkpoint goes past what it was about, so the mark comes first. */
  async #mark(): Promise<void> {
    const { clock, ledger } = this.#ports;
    const { runId, index, keyspace, table, start, end } = this.#item;
    for (const [what, { code, reason }] of this.#toMark) {
      const now = new Date(clock.nowMillis());
      const by = `load-range ${runId}`;
      const mark = {
        version: 1 as const,
        keyspace,
        table,
        range: { start, end },
        reason,
        code,
        by,
        at: now.toISOString(),
      };
      await ledger.addSuspect(`${runId}-${index}-${what}`, mark);
      await ledger.setTable(keyspace, table, 'suspect', { now, by, reason });
      this.#marked.add(what);
      this.#toMark.delete(what);
    }
  }
}
