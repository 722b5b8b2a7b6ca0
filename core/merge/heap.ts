/** A binary min-heap; the merge pays log2(n) comparisons for each event of n inputs. */
export class Heap<T> {
  readonly #items: T[] = [];
  readonly #compare: (left: T, right: T) => number;

  constructor(compare: (left: T, right: T) => number) {
    this.#compare = compare;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The least item, left in place. */
  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#compare(items[at]!, items[parent]!) >= 0) return;
      [items[at], items[parent]] = [items[parent]!, items[at]!];
      at = parent;
    }
  }

  /** Removes and returns the least item. */
  pop(): T | undefined {
    const items = this.#items;
    const least = items[0];
    const last = items.pop();
    if (items.length === 0 || last === undefined) return least;
    items[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= items.length) return least;
      const right = left + 1;
      const child = right < items.length && this.#compare(items[right]!, items[left]!) < 0 ? right : left;
      if (this.#compare(items[at]!, items[child]!) <= 0) return least;
      [items[at], items[child]] = [items[child]!, items[at]!];
      at = child;
    }
  }
}
