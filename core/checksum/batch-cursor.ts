/** Steps through a stream of batches item by item, with a promise for each batch and none for each item. */
export class BatchCursor<T> {
  readonly #source: AsyncIterator<readonly T[]>;
  #batch: readonly T[] = [];
  #at = 0;
  #ended = false;

  constructor(source: AsyncIterable<readonly T[]>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The item at hand; undefined when the batch is used up (call `fill`) or the stream has ended. */
  get current(): T | undefined {
    return this.#batch[this.#at];
  }

  /** Goes to the next item of the batch. */
  advance(): void {
    this.#at++;
  }

  /** The item at hand, read from the stream when need be; undefined at its end. */
  async fill(): Promise<T | undefined> {
    while (this.#at >= this.#batch.length && !this.#ended) {
      const next = await this.#source.next();
      this.#at = 0;
      this.#batch = next.done ? [] : next.value;
      this.#ended = next.done === true;
    }
    return this.#batch[this.#at];
  }

  /** Ends the stream early, so that its reader can free what it holds. */
  async close(): Promise<void> {
    this.#ended = true;
    this.#batch = [];
    await this.#source.return?.();
  }
}
