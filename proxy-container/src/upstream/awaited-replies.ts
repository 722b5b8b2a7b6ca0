import { inSlices } from '../in-slices.ts';
import { rethrowLater } from '../rethrow.ts';
import { StreamIds } from '../transport/stream-ids.ts';
import type { LostReason, ReplyHandler } from './upstream-connection.ts';

interface InFlight {
  /** undefined: the id is free, or nobody waits any more. */
  handler: ReplyHandler | undefined;
  deadlineMs: number;
  /** Timed out: the id stays taken until the node answers after all. */
  isOrphan: boolean;
}

/** Who waits for which reply of one connection, and until when. */
export class AwaitedReplies {
  readonly #ids = new StreamIds();
  readonly #inFlight: (InFlight | undefined)[] = [];
  #orphanCount = 0;

  /** Stream ids that are taken. */
  get count(): number {
    return this.#ids.used;
  }

  /** Requests that never got an answer. */
  get orphanCount(): number {
    return this.#orphanCount;
  }

  /** Takes a stream id; -1 when there is none. */
  enter(handler: ReplyHandler, deadlineMs: number): number {
    const id = this.#ids.take();
    if (id < 0) return -1;
    const slot = this.#inFlight[id];
    if (slot) {
      slot.handler = handler;
      slot.deadlineMs = deadlineMs;
    } else this.#inFlight[id] = { handler, deadlineMs, isOrphan: false };
    return id;
  }

  /** The usual reply, whose handler takes it where it lies. */
  readonly peek = (bytes: Buffer, start: number, end: number): boolean => {
    const id = (bytes[start + 2]! << 8) | bytes[start + 3]!;
    const slot = this.#inFlight[id];
    const handler = slot?.handler;
    if (handler?.onBytes === undefined || bytes[start]! < 0x80) return false;
    slot!.handler = undefined;
    try {
      if (!handler.onBytes(bytes, start, end)) {
        slot!.handler = handler;
        return false;
      }
    } catch (error) {
      rethrowLater(error);
    }
    this.#ids.release(id);
    return true;
  };

  /** Hands a reply to who waits for it; a late one only frees its id. */
  deliver(id: number, frame: Buffer): void {
    const slot = this.#inFlight[id];
    if (!slot) return;
    const { handler } = slot;
    if (handler === undefined) {
      if (!slot.isOrphan) return;
      slot.isOrphan = false;
      this.#orphanCount--;
      this.#ids.release(id);
      return;
    }
    slot.handler = undefined;
    this.#ids.release(id);
    try {
      handler.onReply(frame);
    } catch (error) {
      // One request's fault; the connection carries those of other clients.
      rethrowLater(error);
    }
  }

  /** Tells those whose time is over. */
  sweep(nowMs: number): void {
    if (this.#ids.used === this.#orphanCount) return;
    for (const slot of this.#inFlight) {
      const handler = slot?.handler;
      if (!slot || !handler || slot.deadlineMs > nowMs) continue;
      slot.handler = undefined;
      slot.isOrphan = true;
      this.#orphanCount++;
      tellLost(handler, 'timeout');
    }
  }

  /** Tells everybody that no reply will come any more; thousands in several turns of the event loop. */
  loseAll(): void {
    void inSlices(this.#inFlight, (slot) => {
      const handler = slot?.handler;
      if (slot) slot.handler = undefined;
      if (handler) tellLost(handler, 'closed');
    });
  }
}

function tellLost(handler: ReplyHandler, reason: LostReason): void {
  try {
    handler.onLost(reason);
  } catch (error) {
    rethrowLater(error);
  }
}
