import { MalformedBytesError } from '#core/bytes/byte-reader.ts';
import type { TokenRange } from '#core/token/token-range.ts';
import type { DataSpan } from './partition-index.ts';

const NO_BYTES = new Uint8Array(0);

/** Where partitions stand in relation to the range that is read. */
type Zone = 'before' | 'inside' | 'behind';

/** Checks that partitions of a span ascend, and that they stand where the index says: it has no checksums. */
export class PartitionOrder {
  readonly #span: DataSpan;
  readonly #range: TokenRange;
  #lastToken: bigint | undefined;
  #lastKey: Uint8Array = NO_BYTES;
  #count = 0;

  constructor(span: DataSpan, range: TokenRange) {
    this.#span = span;
    this.#range = range;
  }

  /** Makes the last key's bytes its own, so that the window they lie in can go. */
  keepKey(): void {
    this.#lastKey = new Uint8Array(this.#lastKey);
  }

  /**
   * @param position of the partition's head: a plain position in Data.db
   * @param offset the same, for messages
   * @throws MalformedBytesError
   */
  accept(key: Uint8Array, token: bigint, position: number, offset: number): Zone {
    const lastToken = this.#lastToken;
    if (token === lastToken && Buffer.compare(key, this.#lastKey) <= 0) {
      throw new MalformedBytesError(offset, `two partitions of the token ${token} are out of order`);
    }
    if (lastToken !== undefined && token < lastToken) {
      throw new MalformedBytesError(offset, `the token ${token} follows ${lastToken}: partitions are out of order`);
    }
    const { start, next, end, isFirst, isExact } = this.#span;
    if (position === start && isFirst?.(key, token) === false) {
      throw new MalformedBytesError(offset, 'the index names another partition for this position');
    }
    if (this.#count === 1 && next !== undefined && position !== next) {
      throw new MalformedBytesError(offset, `the index leads to ${next} instead, and leaves this partition out`);
    }
    const isBehind = token > this.#range.end;
    if (isBehind && isExact && position < end) {
      throw new MalformedBytesError(offset, `a partition behind the range, which the index ends at ${end}`);
    }
    this.#lastToken = token;
    this.#lastKey = key;
    this.#count++;
    return isBehind ? 'behind' : token > this.#range.start ? 'inside' : 'before';
  }
}
