/** How long the parts of a run took, so that one sees where a bed's time goes. */
export class PhaseTimes {
  readonly #took: [what: string, ms: number][] = [];

  async time<T>(what: string, work: () => Promise<T>): Promise<T> {
    const beganMs = performance.now();
    try {
      return await work();
    } finally {
      this.#took.push([what, performance.now() - beganMs]);
    }
  }

  /** `load 31 s, drain 12 s`, in the order in which they ended. */
  toString(): string {
    return this.#took.map(([what, ms]) => `${what} ${(ms / 1000).toFixed(1)} s`).join(', ');
  }
}
