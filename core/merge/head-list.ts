/** What a HeadList holds: the list links items that stand at one position through `peer`. */
export interface Headed<T> {
  /** Another item at the same position; the list's own. */
  peer: T | undefined;
}

/**
 * The inputs of a merge by their next positions. Inputs at one position form a group, so that versions of a row come out
 * together and none of them is compared with another twice; the more the inputs overlap, the fewer the comparisons.
 */
export class HeadList<T extends Headed<T>> {
  /** The first item of each group, the least position last. */
  readonly #groups: T[] = [];
  readonly #compare: (left: T, right: T) => number;

  constructor(compare: (left: T, right: T) => number) {
    this.#compare = compare;
  }

  get isEmpty(): boolean {
    return this.#groups.length === 0;
  }

  /** An item at the least position, left in place. */
  peek(): T | undefined {
    return this.#groups[this.#groups.length - 1];
  }

  insert(item: T): void {
    const groups = this.#groups;
    let low = 0;
    let high = groups.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const group = groups[middle]!;
      const difference = this.#compare(item, group);
      if (difference === 0) {
        item.peer = group.peer;
        group.peer = item;
        return;
      }
      if (difference > 0) high = middle;
      else low = middle + 1;
    }
    item.peer = undefined;
    groups.push(item);
    for (let at = groups.length - 1; at > low; at--) groups[at] = groups[at - 1]!;
    groups[low] = item;
  }

  /** Removes the least position's items, which hang together through `peer`. */
  take(): T | undefined {
    return this.#groups.pop();
  }
}
