/** Of one window; a cursor holds two. */
const MIN_WINDOW_BYTES = 64 * 1024;
const MAX_WINDOW_BYTES = 8 * 1024 * 1024;

/**
 * Divides a budget for read windows among the cursors that have begun and not ended, so that it is the open ones that make
 * windows small, not the files that there are.
 */
export class WindowShares {
  /** Of one window for each cursor: there are two, the one that is decoded and the one that is being read. */
  readonly #budgetBytes: number;
  #open = 0;
  #grantedBytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes / 2;
  }

  /** `windowBytes` is what the next window may have; the first call begins. */
  join(): { readonly windowBytes: () => number; readonly leave: () => void } {
    let mine: number | undefined;
    return {
      windowBytes: () => {
        if (mine === undefined) this.#open++;
        // Those who came when fewer were open still hold more than their share; only what is left can be given.
        const left = this.#budgetBytes - (this.#grantedBytes - (mine ?? 0));
        const share = Math.floor(Math.min(left, this.#budgetBytes / this.#open));
        const granted = Math.max(MIN_WINDOW_BYTES, Math.min(MAX_WINDOW_BYTES, share));
        this.#grantedBytes += granted - (mine ?? 0);
        mine = granted;
        return granted;
      },
      leave: () => {
        if (mine === undefined) return;
        this.#open--;
        this.#grantedBytes -= mine;
        mine = undefined;
      },
    };
  }
}
