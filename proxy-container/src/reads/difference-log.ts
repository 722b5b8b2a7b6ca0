import { createHmac, randomBytes } from 'node:crypto';
import type { Difference } from './compare-results.ts';

/** A difference as `/status` shows it: where and of which kind; nothing of what the application stores. */
export interface ShownDifference {
  readonly at: string;
  readonly keyspace: string;
  readonly table: string;
  /** The same for the same bound values, within one run of this process. */
  readonly valuesHash: string;
  readonly primaryRows: number;
  readonly shadowRows: number;
  readonly columns: readonly string[];
}

const MAX_SHOWN = 20;
const HASH_CHARACTERS = 16;

/** The last differences that were found. */
export class DifferenceLog {
  /** Keyed, so that nobody who sees a hash can try out values. */
  readonly #key = randomBytes(32);
  readonly #shown: ShownDifference[] = [];

  get shown(): readonly ShownDifference[] {
    return this.#shown;
  }

  /** @param values what was bound, or the text that holds it */
  add(keyspace: string, table: string, values: readonly Uint8Array[], difference: Difference, at: Date): void {
    const { primaryRows, shadowRows, columns } = difference;
    const hmac = createHmac('sha256', this.#key);
    for (const value of values) hmac.update(`${value.length};`).update(value);
    const valuesHash = hmac.digest('hex').slice(0, HASH_CHARACTERS);
    this.#shown.push({ at: at.toISOString(), keyspace, table, valuesHash, primaryRows, shadowRows, columns });
    if (this.#shown.length > MAX_SHOWN) this.#shown.shift();
  }
}
