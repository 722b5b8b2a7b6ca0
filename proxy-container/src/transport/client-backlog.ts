/** Of one client, which is not read any more by then. */
export const MAX_CLIENT_BYTES = 32 * 1024 * 1024;
/** Of all clients together, and as long as the longest answer may be. */
const MAX_BYTES = 256 * 1024 * 1024;

/** A client that does not read its answers as fast as they come. */
export interface SlowClient {
  /** Bytes that wait for it. */
  readonly waitingBytes: number;
  close(): void;
}

export interface ClientBacklogOptions {
  readonly maxBytes?: number;
  /** A client was closed, for the others to have room. */
  readonly onClosed: () => void;
}

/**
 * What waits for all clients of a process that do not keep up. Where it is too much the slowest is closed: of those that
 * hold at least half the average, the one that has not read all its answers for the longest time.
 */
export class ClientBacklog {
  readonly #options: ClientBacklogOptions;
  readonly #maxBytes: number;
  /** In the order in which they fell behind. */
  readonly #bytes = new Map<SlowClient, number>();
  #total = 0;

  constructor(options: ClientBacklogOptions) {
    this.#options = options;
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
  }

  /** Bytes that wait, of all clients. */
  get byteCount(): number {
    this.#count();
    return this.#total;
  }

  /** Says how much waits for a client now; 0 when it has caught up or gone. Others may be closed, or this one. */
  note(client: SlowClient, byteCount: number): void {
    this.#set(client, byteCount);
    if (this.#total <= this.#maxBytes) return;
    this.#count(client);
    while (this.#total > this.#maxBytes && this.#bytes.size > 1) {
      const slowest = this.#slowest();
      if (slowest === undefined) return;
      this.#set(slowest, 0);
      slowest.close();
      this.#options.onClosed();
    }
  }

  /** What clients have read meanwhile is not always told. */
  #count(except?: SlowClient): void {
    for (const one of this.#bytes.keys()) if (one !== except) this.#set(one, one.waitingBytes);
  }

  #set(client: SlowClient, byteCount: number): void {
    this.#total += byteCount - (this.#bytes.get(client) ?? 0);
    if (byteCount === 0) this.#bytes.delete(client);
    else this.#bytes.set(client, byteCount);
  }

  #slowest(): SlowClient | undefined {
    const half = this.#total / this.#bytes.size / 2;
    for (const [client, byteCount] of this.#bytes) if (byteCount >= half) return client;
    return undefined;
  }
}
