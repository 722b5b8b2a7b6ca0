import type { TableCounters } from '../counters/table-counters.ts';

/** A shadow write under way: a link of the chain below. */
export interface ShadowInFlight {
  table: TableCounters | undefined;
  /** By `performance.now()`. */
  startedMs: number;
  before: ShadowInFlight | undefined;
  after: ShadowInFlight | undefined;
}

/** A link that is in no chain yet, or not any more: it may be used again. */
export function newLink(): ShadowInFlight {
  return { table: undefined, startedMs: 0, before: undefined, after: undefined };
}

/** How far the shadow is behind: the age of the oldest copy under way, of all tables and of each. */
export interface ShadowLag {
  readonly allMs: number;
  readonly byTableMs: ReadonlyMap<TableCounters, number>;
}

/** The shadow writes under way, oldest first: a chain, so that each joins and leaves it at the same small cost. */
export class ShadowQueue {
  #oldest: ShadowInFlight | undefined;
  #newest: ShadowInFlight | undefined;

  enter(table: TableCounters, startedMs: number, link: ShadowInFlight = newLink()): ShadowInFlight {
    link.table = table;
    link.startedMs = startedMs;
    link.before = this.#newest;
    link.after = undefined;
    if (this.#newest) this.#newest.after = link;
    else this.#oldest = link;
    this.#newest = link;
    return link;
  }

  /** Called once for each link. */
  leave(link: ShadowInFlight): void {
    if (link.before) link.before.after = link.after;
    else this.#oldest = link.after;
    if (link.after) link.after.before = link.before;
    else this.#newest = link.before;
    // One that waits to be used again must not keep those that came after it.
    link.before = undefined;
    link.after = undefined;
  }

  /** @param nowMs by `performance.now()` */
  lag(nowMs: number): ShadowLag {
    const byTableMs = new Map<TableCounters, number>();
    for (let link = this.#oldest; link; link = link.after) {
      if (link.table && !byTableMs.has(link.table)) byTableMs.set(link.table, Math.max(0, nowMs - link.startedMs));
    }
    return { allMs: this.#oldest ? Math.max(0, nowMs - this.#oldest.startedMs) : 0, byTableMs };
  }
}
