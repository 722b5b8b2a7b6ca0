import { MessageInvalidError } from '../errors.ts';
import { valueLookup } from '../model/bound-values.ts';
import { equalBytes } from '../model/compare-value.ts';
import type { FailedWrite } from '../model/failed-write.ts';
import type { TableFacts } from '../model/table-facts.ts';
import type { Clock, CqlSession } from '../ports.ts';
import { classify } from '../statement/classify.ts';
import { copyOf, type ReadRow, readOf } from '../statement/read-back.ts';
import { type TouchedRow, touchedRows } from '../statement/touched-rows.ts';

/** Longer than a copy of a list write that succeeds is under way. */
const SETTLE_MS = 2_000;
const MAX_LOOKS = 3;

export interface ListReplay {
  readonly write: FailedWrite;
  /** The cluster that has the write. */
  readonly from: CqlSession;
  /** The one that missed it. */
  readonly to: CqlSession;
  readonly factsOf: (keyspace: string, table: string) => Promise<TableFacts | undefined>;
  readonly clock: Clock;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/**
 * Copies what one cluster has in the rows that a failed write touched, instead of sending its list operations again. A
 * list is written whole at a new time, so that it covers every earlier attempt and every copy of other writes to it that
 * it holds already; at the write's own time plus the attempt (CORRECTNESS 11) the copies of later appends would stand
 * beside their own elements. Then both clusters are compared, since writes that were under way meanwhile may be missing
 * or doubled.
 * @returns false: the two still differ, so it is to be tried again
 * @throws MessageInvalidError when the statements do not tell their rows; whatever the sessions throw
 */
export async function replayLists(replay: ListReplay, signal?: AbortSignal): Promise<boolean> {
  const { write, from, to, clock, sleep } = replay;
  const rows = await rowsOf(replay);
  const now = nextMicros(clock, write);
  const attempt = write.timestampMicros + BigInt(write.attempts);
  const reads = await readAll(rows, from, signal);
  const areListsEqual = areSame(reads, await readAll(rows, to, signal));
  const hasOwnTime = write.statements.every(({ text }) => !/\busing\b[^;]*\btimestamp\b/i.test(text));
  const copy = copyOf(areListsEqual ? reads.map(withoutCollections) : reads, {
    clockMicros: now > attempt ? now : attempt,
    ...(hasOwnTime ? { ownMicros: write.timestampMicros } : {}),
  });
  if (copy.statements.length > 0) {
    const entries = copy.statements.map(({ text, values }) => ({ statement: text, values }));
    await to.batch('unlogged', entries, { consistency: write.consistency, idempotent: false, ...withSignal(signal) });
  }
  for (let look = 1; look <= MAX_LOOKS; look++) {
    await sleep(SETTLE_MS, signal);
    if (areSame(await readAll(rows, from, signal), await readAll(rows, to, signal))) return true;
  }
  return false;
}

let lastMicros = 0n;

/**
 * A time for a whole list that no other copy of it has: two at one time would leave the elements of both, since the
 * deletion that each begins with is older than itself. Several writes of one list are copied at once, also by several
 * processes; what tells those apart is the write.
 */
function nextMicros(clock: Clock, { timestampMicros }: FailedWrite): bigint {
  const micros = BigInt(clock.nowMillis()) * 1000n + (BigInt.asUintN(64, timestampMicros) % 1000n);
  lastMicros = micros > lastMicros || lastMicros - micros > 1_000_000n ? micros : lastMicros + 1n;
  return lastMicros;
}

async function rowsOf({ write, factsOf }: ListReplay): Promise<TouchedRow[]> {
  const rows: TouchedRow[] = [];
  for (const one of write.statements) {
    const statement = classify(one.text);
    for (const child of statement.kind === 'batch' ? statement.children : [statement]) {
      const keyspace = child.keyspace ?? write.keyspace ?? '';
      const facts = child.table === undefined ? undefined : await factsOf(keyspace, child.table);
      const touched = facts && touchedRows({ statement: child, keyspace, valueOf: valueLookup(one) }, facts);
      if (touched === undefined) {
        throw new MessageInvalidError('the rows of a failed list write are not known for sure');
      }
      rows.push(...touched);
    }
  }
  return rows;
}

async function readAll(rows: readonly TouchedRow[], session: CqlSession, signal?: AbortSignal): Promise<ReadRow[]> {
  const reads: ReadRow[] = [];
  for (const row of rows) {
    const { text, values } = readOf(row);
    reads.push({ row, values: (await session.query(text, values, withSignal(signal))).rows[0] });
  }
  return reads;
}

function withSignal(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal ? { signal } : {};
}

function withoutCollections({ row, values }: ReadRow): ReadRow {
  return { row: { ...row, collections: [] }, values };
}

/** Whether both have the same in the columns of several cells; the others carry their own write times. */
function areSame(left: readonly ReadRow[], right: readonly ReadRow[]): boolean {
  return left.every(({ row, values }, index) => {
    const others = right[index]!.values;
    return row.collections.every((_, at) => {
      const [one, other] = [values, others].map((each) => each?.[row.cells.length * 3 + at] ?? null);
      return one && other ? equalBytes(one, other) : one === other;
    });
  });
}
