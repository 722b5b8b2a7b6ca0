/** Tells the story: numbered steps with the time of each, progress lines between, facts for the summary. */
export interface Step {
  readonly title: string;
  readonly seconds: number;
}

export class Narrator {
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  readonly #total: number;
  readonly #startedAt: number;
  readonly #steps: Step[] = [];

  constructor(total: number, write: (text: string) => void, now: () => number) {
    this.#total = total;
    this.#write = write;
    this.#now = now;
    this.#startedAt = now();
  }

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** Seconds since the story began. */
  get elapsedSeconds(): number {
    return (this.#now() - this.#startedAt) / 1000;
  }

  /** One step of the story, timed; a failure is told and passed on. */
  async step<T>(title: string, work: () => Promise<T>): Promise<T> {
    const number = `${this.#steps.length + 1}/${this.#total}`.padStart(5);
    this.#write(`\n[${number}] ${title}\n`);
    const started = this.#now();
    const seconds = (): number => (this.#now() - started) / 1000;
    try {
      const result = await work();
      this.#steps.push({ title, seconds: seconds() });
      this.say(`done in ${seconds().toFixed(1)} s`);
      return result;
    } catch (error) {
      this.say(`FAILED after ${seconds().toFixed(1)} s`);
      throw error;
    }
  }

  /** A line below the running step. */
  say(text: string): void {
    for (const line of text.split('\n')) this.#write(`        ${line}\n`);
  }

  /** A line at the margin. */
  print(text = ''): void {
    this.#write(`${text}\n`);
  }
}
