/** Takes one reply. Exactly one of the two is there; the frame is plain, whatever the connection's compression. */
export type ReplyHandler = (error: Error | undefined, frame: Buffer | undefined) => void;

interface Pending {
  readonly onReply: ReplyHandler;
  readonly deadlineMillis: number;
}

/** Stream ids of one connection and who waits for their replies. */
export class PendingRequests {
  readonly #free: number[] = [];
  readonly #waiting = new Map<number, Pending>();
  /** Timed out: nobody waits any more, but the id can't be used again before the server has answered. */
  readonly #orphans = new Set<number>();
  readonly #capacity: number;
  #next = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get inFlight(): number {
    return this.#waiting.size;
  }

  /** Whether an id is free. */
  get hasRoom(): boolean {
    return this.#free.length > 0 || this.#next < this.#capacity;
  }

  get orphans(): number {
    return this.#orphans.size;
  }

  /** A stream id for this request, or -1 when all are in use. */
  add(onReply: ReplyHandler, deadlineMillis: number): number {
    const id = this.#free.pop() ?? (this.#next < this.#capacity ? this.#next++ : -1);
    if (id >= 0) this.#waiting.set(id, { onReply, deadlineMillis });
    return id;
  }

  /** Whoever waits for this id; frees it. */
  take(streamId: number): ReplyHandler | undefined {
    const pending = this.#waiting.get(streamId);
    if (pending) this.#waiting.delete(streamId);
    else if (!this.#orphans.delete(streamId)) return undefined;
    this.#free.push(streamId);
    return pending?.onReply;
  }

  /** Takes out all whose time is over. */
  takeExpired(nowMillis: number): ReplyHandler[] {
    const expired: ReplyHandler[] = [];
    for (const [id, { onReply, deadlineMillis }] of this.#waiting) {
      if (deadlineMillis > nowMillis) continue;
      this.#waiting.delete(id);
      this.#orphans.add(id);
      expired.push(onReply);
    }
    return expired;
  }

  takeAll(): ReplyHandler[] {
    const all = [...this.#waiting.values()].map(({ onReply }) => onReply);
    this.#waiting.clear();
    return all;
  }
}
