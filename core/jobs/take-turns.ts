/** Work in several steps with a wait between them: many at once take turns, and their waits are one wait. */

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
  /** Not by a clock that may be set: what stands in two readings is told by the wait between them. */
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
  readonly #over = new AbortController();
  readonly #waitSignal: AbortSignal;
  readonly #ends: TurnEnd[];
  readonly #held: number[];
  /** Those that have waited, in the order in which they did. */
  readonly #due: number[] = [];
  #waiting = 0;
  #next = 0;
  #active = 0;
  #heldBytes = 0;
  #isStopped = false;
  #changed = Promise.withResolvers<void>();

  constructor(turns: readonly Turn[], rules: TurnRules, signal: AbortSignal | undefined) {
    this.#turns = turns;
    this.#rules = rules;
    this.#signal = signal;
    this.#waitSignal = signal ? AbortSignal.any([signal, this.#over.signal]) : this.#over.signal;
    this.#ends = turns.map(() => ({ kind: 'left' }));
    this.#held = turns.map(() => 0);
  }

  async run(): Promise<readonly TurnEnd[]> {
    const workers = Math.min(this.#rules.concurrency, this.#turns.length);
    await Promise.all(Array.from({ length: workers }, () => this.#work()));
    // Whoever is left need not wait any longer.
    this.#over.abort();
    return this.#ends;
  }

  async #work(): Promise<void> {
    for (;;) {
      const index = this.#take();
      if (index !== undefined) await this.#step(index);
      else if (this.#isOver) return;
      else await this.#changed.promise;
    }
  }

  /** What still waits is left where no further step may be taken. */
  get #isOver(): boolean {
    return this.#active === 0 && (this.#isStopped || this.#waiting + this.#due.length === 0);
  }

  #take(): number | undefined {
    const { mayBegin, mayGoOn, maxHeldBytes } = this.#rules;
    if (this.#isStopped || this.#signal?.aborted || !mayGoOn()) {
      this.#isStopped = true;
      return undefined;
    }
    if (this.#due.length > 0) return this.#due.shift();
    if (this.#next >= this.#turns.length || (this.#heldBytes >= maxHeldBytes && this.#waiting > 0)) return undefined;
    if (mayBegin()) return this.#next++;
    this.#next = this.#turns.length;
    return undefined;
  }

  async #step(index: number): Promise<void> {
    const turn = this.#turns[index]!;
    this.#active++;
    try {
      const next = await turn.step(this.#signal);
      if (next === 'wait') void this.#wait(index);
      else this.#ends[index] = { kind: 'ended' };
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

  async #wait(index: number): Promise<void> {
    this.#waiting++;
    try {
      await this.#rules.sleep(this.#rules.settleMs, this.#waitSignal);
      this.#due.push(index);
    } catch {
      this.#isStopped = true;
    }
    this.#waiting--;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
