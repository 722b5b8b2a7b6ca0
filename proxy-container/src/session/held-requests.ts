import type { HeldRequest, PhaseGate } from '../phase/phase-gate.ts';
import { ownBytes } from '../transport/own-bytes.ts';

export interface HeldRequestsOptions {
  readonly gate: PhaseGate;
  /** A client waits no longer than this for an answer. */
  readonly timeoutMs: number;
  /** Takes the request up in the phase that is in force then. Does not throw. */
  readonly run: (frame: Buffer, streamId: number) => void;
  readonly refuse: (streamId: number, message: string) => void;
}

interface Held extends HeldRequest {
  readonly streamId: number;
  readonly timer: NodeJS.Timeout;
}

/** The requests of one client that wait for a change of phase: each is taken up, refused, or dropped with its client. */
export class HeldRequests {
  readonly #options: HeldRequestsOptions;
  readonly #held = new Set<Held>();

  constructor(options: HeldRequestsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#held.size;
  }

  /** Keeps a request, or refuses it at once where there is no room. */
  hold(frame: Buffer, streamId: number): void {
    const { gate, run, refuse, timeoutMs } = this.#options;
    const kept = ownBytes(frame);
    const held: Held = {
      byteCount: kept.length,
      streamId,
      timer: setTimeout(() => {
        this.#forget(held);
        refuse(streamId, 'the phase of the migration is changing');
      }, timeoutMs),
      run: () => {
        // Its client may have gone while those before it were run.
        if (!this.#held.has(held)) return;
        this.#forget(held);
        run(kept, streamId);
      },
    };
    if (gate.hold(held)) {
      this.#held.add(held);
      return;
    }
    clearTimeout(held.timer);
    refuse(streamId, 'too many requests wait for the change of phase');
  }

  /** Answers all of them: this proxy is going away. */
  refuseAll(message: string): void {
    for (const held of this.#held) {
      this.#forget(held);
      this.#options.refuse(held.streamId, message);
    }
  }

  /** Forgets all of them: nobody waits for an answer, so nothing may be applied. */
  drop(): void {
    for (const held of this.#held) this.#forget(held);
  }

  #forget(held: Held): void {
    clearTimeout(held.timer);
    this.#held.delete(held);
    this.#options.gate.drop(held);
  }
}
