import type { ListPlace } from './list-place.ts';

/** A write that waits for earlier ones of the same list. Neither method throws. */
export interface Turn {
  run(): void;
  /** An earlier one failed, so this one would stand in the wrong place: the list is read back anyway. */
  skip(): void;
}

/**
 * What a write that is done means for those behind it. `skip`: it failed, and a list that comes behind it would stand in the
 * wrong place. All up to the last list that is written as a whole do not run any more, those of the table where it may have
 * been of any row; a cluster that fails slowly would else be waited for once for each of them. `release`: whether it comes to an end is not known, so that there is no order to keep.
 */
export type Ending = 'next' | 'skip' | 'release';

interface Waiting {
  readonly place: ListPlace;
  readonly turn: Turn;
}

/** Writes that may run side by side but for those of one row, or one that may be of any row. */
interface Stage {
  /** By row; the one that runs is not among them. */
  readonly rows: Map<string | undefined, Waiting[]>;
  readonly isOfAnyRow: boolean;
}

/**
 * Turns of writes whose order matters: the elements of a list have their places from the server that gets them, not by
 * their write times. One write for each row is under way at a time, in the order in which they came.
 */
export class ListOrder {
  /** By table; the first stage is the one that runs. */
  readonly #tables = new Map<string, Stage[]>();

  /** Runs it now, or when the earlier ones of its place are done. */
  take(place: ListPlace, turn: Turn): void {
    const { table, row } = place;
    let stages = this.#tables.get(table);
    if (stages === undefined) {
      stages = [];
      this.#tables.set(table, stages);
    }
    let stage = stages.at(-1);
    if (stage === undefined || stage.isOfAnyRow || row === undefined) {
      stage = { rows: new Map(), isOfAnyRow: row === undefined };
      stages.push(stage);
    }
    const waiting = stage.rows.get(row);
    if (stage === stages[0] && waiting === undefined) {
      stage.rows.set(row, []);
      turn.run();
    } else if (waiting) waiting.push({ place, turn });
    else stage.rows.set(row, [{ place, turn }]);
  }

  /** The one whose turn it was is done. */
  done({ table, row, isList }: ListPlace, ending: Ending): void {
    const stages = this.#tables.get(table);
    const stage = stages?.[0];
    const waiting = stage?.rows.get(row);
    if (!stages || !stage || !waiting) return;
    if (ending === 'skip') {
      if (row === undefined) for (const behind of stages.splice(1)) skipAll(behind);
      else if (isList) skipToLastWhole(waiting);
    }
    const next = ending === 'release' ? undefined : waiting.shift();
    if (next) {
      later(next);
      return;
    }
    for (const one of waiting) later(one);
    stage.rows.delete(row);
    if (stage.rows.size > 0) return;
    stages.shift();
    const following = stages[0];
    if (following === undefined) this.#tables.delete(table);
    else for (const rows of following.rows.values()) later(rows.shift()!);
  }
}

function skipToLastWhole(waiting: Waiting[]): void {
  const lastWhole = waiting.findLastIndex(({ place }) => !place.isAppend);
  for (const { turn } of waiting.splice(0, lastWhole === -1 ? waiting.length : lastWhole)) turn.skip();
}

function skipAll({ rows }: Stage): void {
  for (const waiting of rows.values()) for (const { turn } of waiting) turn.skip();
}

/** Not from here: one that fails at once would come back at once. */
function later({ turn }: Waiting): void {
  queueMicrotask(() => turn.run());
}
