/** The protocol allows 32768 ids from v3 on; fewer keep the tables small and the queues of a node short. */
export const DEFAULT_STREAM_IDS = 4096;

/**
 * Hands out the stream ids of one connection, the most recently freed first, so that few array slots are in use.
 * Ids grow into their range only as far as they are needed at once.
 */
export class StreamIds {
  readonly #max: number;
  readonly #free: number[] = [];
  #next = 0;

  constructor(max: number = DEFAULT_STREAM_IDS) {
    this.#max = max;
  }

  /** Ids that are taken now. */
  get used(): number {
    return this.#next - this.#free.length;
  }

  /** -1 when none is left. */
  take(): number {
    const freed = this.#free.pop();
    if (freed !== undefined) return freed;
    return this.#next < this.#max ? this.#next++ : -1;
  }

  release(id: number): void {
    this.#free.push(id);
  }
}
