/** Brings counters of a cluster to given totals: reads, adds the difference, and never repeats an addition blindly. */

import { describeError, GateClosedError, MigrationError, ServerError } from '../errors.ts';
import type { RangeClaim } from '../ledger/range-claim.ts';
import { Consistency } from '../model/cql-request.ts';
import type { CqlSession, Logger } from '../ports.ts';
import {
  type CounterRow,
  type CounterStatements,
  type CounterTotals,
  deltasOf,
  int64,
  totalsOfResult,
} from './counter-statements.ts';

interface CounterWriterPorts {
  readonly target: CqlSession;
  readonly logger: Logger;
  readonly sleep: (ms: number) => Promise<void>;
}

/**
 * How long an addition whose outcome is not known may still arrive: counter_write_request_timeout is 5 s by default, after
 * which no node works on it any more.
 */
export const COUNTER_SETTLE_MS = 10_000;
const REREAD_MS = 2000;
const MAX_ATTEMPTS = 6;
const MAX_REREADS = 10;
const READ_DELAY_MS = 500;
/** Codes from here on say that the request is wrong, not that the cluster is busy (native protocol, section 9). */
const FIRST_CODE_OF_REFUSALS = 0x2000;

/**
 * Reads must see what was added before, or it would be added twice; so a lower level than a quorum is raised to one.
 */
export function counterConsistency(wanted: Consistency): Consistency {
  switch (wanted) {
    case Consistency.ANY:
    case Consistency.ONE:
    case Consistency.LOCAL_ONE:
      return Consistency.LOCAL_QUORUM;
    case Consistency.TWO:
    case Consistency.THREE:
      return Consistency.QUORUM;
    default:
      return wanted;
  }
}

export class CounterWriter {
  readonly counts = { counterReads: 0, counterWrites: 0, unclearWrites: 0, retries: 0, rowsNotTaken: 0 };
  readonly #ports: CounterWriterPorts;
  readonly #statements: CounterStatements;
  readonly #consistency: Consistency;
  readonly #claim: Pick<RangeClaim, 'renew' | 'isSure'>;
  #isStopped = false;

  /** @param claim without which nothing is added */
  constructor(
    ports: CounterWriterPorts,
    statements: CounterStatements,
    consistency: Consistency,
    claim: Pick<RangeClaim, 'renew' | 'isSure'>,
  ) {
    this.#ports = ports;
    this.#statements = statements;
    this.#consistency = counterConsistency(consistency);
    this.#claim = claim;
  }

  /**
   * Makes the row's counters what they should be. Nobody else may write the row meanwhile. Resolves to false when the
   * target did not take an addition.
   * @throws GateClosedError when the claim is lost or somebody else changes the row; ServerError and what the session
   * throws: then the row may have been written or not, and may be tried again
   */
  async settle(row: CounterRow, wanted: CounterTotals, routingKey: Uint8Array): Promise<boolean> {
    let found = await this.#read(row, routingKey);
    for (let attempt = 1; ; attempt++) {
      const deltas = deltasOf(wanted, found);
      if (deltas.length === 0) return true;
      await this.#claim.renew();
      try {
        await this.#add(row, deltas, routingKey);
      } catch (error) {
        if (isRefusal(error) || attempt >= MAX_ATTEMPTS) throw error;
        this.counts.unclearWrites++;
        this.#ports.logger.warn('an addition to counters has an unknown outcome; they are read again', {
          error: describeError(error),
          attempt,
        });
        found = await this.#readSettled(row, routingKey);
        continue;
      }
      const unseen = deltas.map(([column]) => column).filter((column) => !found.has(column));
      return unseen.length === 0 || (await this.#isTaken(row, wanted, unseen, routingKey));
    }
  }

  /** Nothing is added from now on. */
  stop(): void {
    this.#isStopped = true;
  }

  async #add(row: CounterRow, deltas: readonly (readonly [number, bigint])[], routingKey: Uint8Array): Promise<void> {
    const { target } = this.#ports;
    const text = this.#statements.update(
      row,
      deltas.map(([column]) => column),
    );
    const statement = await target.prepare(text);
    // Nothing may come between this and the sending.
    if (this.#isStopped) throw new GateClosedError('adding to counters', ['the work on the range has ended']);
    if (!this.#claim.isSure) {
      throw new GateClosedError('adding to counters', [
        'the lease of the range could not be renewed in time, so another call may be at work on it; do it again',
      ]);
    }
    const values = [...deltas.map(([, delta]) => int64(delta)), ...row.place];
    await target.execute(statement, values, { consistency: this.#consistency, routingKey, idempotent: false });
    this.counts.counterWrites++;
  }

  /**
   * A counter that was deleted takes no addition and says no word about it: its tombstone beats every shard, whatever
   * their timestamps (Cassandra's CounterCell reconciliation). It looks like one that never was, until it is read back.
   */
  async #isTaken(
    row: CounterRow,
    wanted: CounterTotals,
    columns: readonly number[],
    routingKey: Uint8Array,
  ): Promise<boolean> {
    const found = await this.#read(row, routingKey);
    if (columns.every((column) => found.get(column) === wanted.get(column))) return true;
    if (columns.some((column) => found.has(column) && found.get(column) !== wanted.get(column)))
      throw changedByOthers();
    this.counts.rowsNotTaken++;
    return false;
  }

  /** Reads until two reads in a row, some time apart and late enough, say the same. */
  async #readSettled(row: CounterRow, routingKey: Uint8Array): Promise<CounterTotals> {
    const { sleep } = this.#ports;
    await sleep(COUNTER_SETTLE_MS);
    let found = await this.#read(row, routingKey);
    for (let reads = 0; reads < MAX_REREADS; reads++) {
      await sleep(REREAD_MS);
      const again = await this.#read(row, routingKey);
      if (deltasOf(found, again).length === 0 && deltasOf(again, found).length === 0) return again;
      found = again;
    }
    throw changedByOthers();
  }

  async #read(row: CounterRow, routingKey: Uint8Array): Promise<CounterTotals> {
    const { target, sleep } = this.#ports;
    for (let attempt = 1; ; attempt++) {
      try {
        const statement = await target.prepare(this.#statements.select(row));
        const options = { consistency: this.#consistency, routingKey };
        const { rows } = await target.execute(statement, row.place, options);
        this.counts.counterReads++;
        return totalsOfResult(rows[0]);
      } catch (error) {
        const isRetryable = error instanceof MigrationError && error.retryable;
        if (!isRetryable || attempt >= MAX_ATTEMPTS) throw error;
        this.counts.retries++;
        await sleep(READ_DELAY_MS * 2 ** attempt);
      }
    }
  }
}

function changedByOthers(): GateClosedError {
  return new GateClosedError('adding to counters', [
    'somebody else changes them meanwhile: stop all writes to the table, wait, and do it again',
  ]);
}

/** Whether the cluster has refused it, so that nothing was added and nothing would be. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof MigrationError) || error instanceof GateClosedError) return true;
  return error instanceof ServerError && error.code >= FIRST_CODE_OF_REFUSALS;
}
