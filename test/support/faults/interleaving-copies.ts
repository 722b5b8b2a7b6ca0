/** What becomes of copies on their way to the target: most arrive at once; some at the end, or never, as a seed says. */
import { createHash } from 'node:crypto';
import type { Fate } from '../frame-relay.ts';
import { CASE_NAME } from './interleaving-cases.ts';

/** Of 256 copies. The replay of a list waits and looks again, so fewer of them are withheld. */
const WITHHELD = 12;
const WITHHELD_LISTS = 4;

export class InterleavingCopies {
  readonly #seed: number;
  /** Name of a case → how many of its operations have begun. */
  readonly #begun = new Map<string, number>();
  /** When each was withheld that the proxy still waits for. By `performance.now()`. */
  #awaited: number[] = [];
  #withheld = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** How many were held to the end or lost, with the request or with its reply. */
  get withheld(): number {
    return this.#withheld;
  }

  begin(pk: string): void {
    this.#begun.set(pk, (this.#begun.get(pk) ?? 0) + 1);
  }

  /** How many that were withheld the proxy still waits for. @param timeoutMs after which it does not any more */
  awaited(timeoutMs: number): number {
    const since = performance.now() - timeoutMs;
    this.#awaited = this.#awaited.filter((at) => at > since);
    return this.#awaited.length;
  }

  /** The same in every run of this seed. */
  fateOf(frame: Buffer): Fate {
    const [pk, , kinds] = CASE_NAME.exec(frame.toString('latin1')) ?? [];
    if (pk === undefined) return {};
    const begun = this.#begun.get(pk) ?? 0;
    const [drawn = 0] = createHash('md5').update(`${this.#seed} ${pk} ${begun}`).digest();
    const isList = kinds!.split(',')[begun - 1] === 'list';
    if (drawn >= (isList ? WITHHELD_LISTS : WITHHELD)) return {};
    this.#withheld++;
    this.#awaited.push(performance.now());
    if (drawn % 2 === 0) return { hold: true };
    return { lose: drawn % 4 === 1 ? 'request' : 'reply' };
  }
}
