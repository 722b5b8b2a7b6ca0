/** Work in several steps with a wait between them: many at once take turns, and their waits are one wait. */

import type { Clock } from '../ports.ts';

/** A piece of such work. */
export interface Turn {
  /** The next step; `wait`: another one is to follow after `settleMs`. */
  step(signal?: AbortSignal): Promise<'ended' | 'wait'>;
  /** What it holds in memory while it waits, about. */
  readonly heldBytes: number;
}

export interface TurnRules {
  /** Between two steps of one piece. */
  readonly settleMs: number;
  /** Steps at once. */
  readonly concurrency: number;
  /** Once so much is held by what waits, nothing more is begun until some of it has ended. */
  readonly maxHeldBytes: number;
  /** Whether to begin another one; once false, none is begun any more. */
  readonly mayBegin: () => boolean;
  /** Whether to take any further step; once false, what has not ended is left. */
  readonly mayGoOn: () => boolean;
  readonly clock: Clock;
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** `left`: it was not begun, or is not ended. */
export type TurnEnd = { readonly kind: 'ended' | 'left' } | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Takes every piece through its steps, one result for each, in order. What is due goes before what is new, so that memory
 * stays bounded and something has ended whenever it stops. Never rejects.
 */
export async function takeTurns(
  turns: readonly Turn[],
  rules: TurnRules,
  signal?: AbortSignal,
): Promise<readonly TurnEnd[]> {
  return new Turns(turns, rules, signal).run();
}

class Turns {
  readonly #turns: readonly Turn[];
  readonly #rules: TurnRules;
  readonly #signal: AbortSignal | undefined;
  readonly #ends: TurnEnd[];
  readonly #held: number[];
  /** In the order in which they are due. */
  readonly #waiting: { readonly index: number; readonly dueMillis: number }[] = [];
  #next = 0;
  #active = 0;
  #heldBytes = 0;
  #isStopped = false;
  #isSleeping = false;
  #changed = Promise.withResolvers<void>();

  constructor(turns: readonly Turn[], rules: TurnRules, signal: AbortSignal | undefined) {
    this.#turns = turns;
    this.#rules = rules;
    this.#signal = signal;
    this.#ends = turns.map(() => ({ kind: 'left' }));
    this.#held = turns.map(() => 0);
  }

  async run(): Promise<readonly TurnEnd[]> {
    const workers = Math.min(this.#rules.concurrency, this.#turns.length);
    await Promise.all(Array.from({ length: workers }, () => this.#work()));
    return this.#ends;
  }

  async #work(): Promise<void> {
    for (;;) {
      const index = this.#take();
      if (index !== undefined) await this.#step(index);
      else if (this.#active + this.#waiting.length === 0) return;
      else await this.#untilChanged();
    }
  }

  #take(): number | undefined {
    const { mayBegin, mayGoOn, maxHeldBytes, clock } = this.#rules;
    if (this.#isStopped || this.#signal?.aborted || !mayGoOn()) {
      this.#next = this.#turns.length;
      this.#waiting.length = 0;
      return undefined;
    }
    if (this.#waiting.length > 0 && this.#waiting[0]!.dueMillis <= clock.nowMillis()) {
      return this.#waiting.shift()!.index;
    }
    if (this.#next >= this.#turns.length || (this.#heldBytes >= maxHeldBytes && this.#waiting.length > 0)) {
      return undefined;
    }
    if (mayBegin()) return this.#next++;
    this.#next = this.#turns.length;
    return undefined;
  }

  async #step(index: number): Promise<void> {
    const turn = this.#turns[index]!;
    this.#active++;
    try {
      const next = await turn.step(this.#signal);
      if (next === 'wait') {
        this.#waiting.push({ index, dueMillis: this.#rules.clock.nowMillis() + this.#rules.settleMs });
      } else this.#ends[index] = { kind: 'ended' };
      this.#hold(index, next === 'wait' ? turn.heldBytes : 0);
    } catch (error) {
      // What was under way when the time ended says nothing of the cluster.
      if (!this.#signal?.aborted) this.#ends[index] = { kind: 'failed', error };
      this.#hold(index, 0);
    }
    this.#active--;
    this.#wake();
  }

  #hold(index: number, bytes: number): void {
    this.#heldBytes += bytes - this.#held[index]!;
    this.#held[index] = bytes;
  }

  /** Another one has ended its step, or the first of those that wait is due. */
  async #untilChanged(): Promise<void> {
    const changed = this.#changed.promise;
    const first = this.#waiting[0];
    if (first !== undefined && !this.#isSleeping) {
      this.#isSleeping = true;
      const ms = Math.max(0, first.dueMillis - this.#rules.clock.nowMillis());
      const slept = this.#rules.sleep(ms, this.#signal).catch(() => {
        this.#isStopped = true;
      });
      void slept.then(() => {
        this.#isSleeping = false;
        this.#wake();
      });
    }
    await changed;
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
