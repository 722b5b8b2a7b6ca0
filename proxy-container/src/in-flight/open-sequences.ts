const FIRST_CAPACITY = 65_536;
const WORD_BITS = 32;

/**
 * Which of the numbers given out are still open, in one bit each: a ring between the lowest that may be open and the next.
 * It grows to its bound; one that stays open for so long that all later ones do not fit is its owner's to settle.
 */
export class OpenSequences {
  readonly #maxCapacity: number;
  #bits: Uint32Array;
  #low: number;
  #next: number;

  /** @param maxCapacity a power of two @param first the first number to give out */
  constructor(first: number, maxCapacity: number, capacity = Math.min(FIRST_CAPACITY, maxCapacity)) {
    this.#maxCapacity = maxCapacity;
    this.#bits = new Uint32Array(capacity / WORD_BITS);
    this.#low = first;
    this.#next = first;
  }

  /** The number that comes next. */
  get next(): number {
    return this.#next;
  }

  /** The lowest number that is open; where none is, the next. */
  get low(): number {
    const bits = this.#bits;
    const mask = bits.length - 1;
    let low = this.#low;
    while (low < this.#next) {
      // The word without what lies below.
      const word = bits[(low >>> 5) & mask]! >>> (low & 31);
      if (word !== 0) {
        low += 31 - Math.clz32(word & -word);
        break;
      }
      low += WORD_BITS - (low & 31);
    }
    this.#low = Math.min(low, this.#next);
    return this.#low;
  }

  /** Opens the next number and returns it; -1: the ring is full. */
  open(): number {
    const sequence = this.#next;
    if (sequence - this.#low >= this.#capacity && !this.#makeRoom()) return -1;
    this.#bits[(sequence >>> 5) & (this.#bits.length - 1)]! |= 1 << (sequence & 31);
    this.#next = sequence + 1;
    return sequence;
  }

  /** Closes it; what is closed, or was never open, stays so. */
  close(sequence: number): void {
    if (sequence < this.#low || sequence >= this.#next) return;
    this.#bits[(sequence >>> 5) & (this.#bits.length - 1)]! &= ~(1 << (sequence & 31));
  }

  closeAll(): void {
    this.#bits.fill(0);
    this.#low = this.#next;
  }

  /** Walks the ring: for people, not for each write. */
  get count(): number {
    let count = 0;
    for (let word of this.#bits) for (; word !== 0; word &= word - 1) count++;
    return count;
  }

  /** One word less than the ring holds, so that the word of `next` has no bit of the lowest. */
  get #capacity(): number {
    return (this.#bits.length - 1) * WORD_BITS;
  }

  #makeRoom(): boolean {
    if (this.#next - this.low < this.#capacity) return true;
    const bits = this.#bits;
    if (bits.length * WORD_BITS >= this.#maxCapacity) return false;
    const larger = new Uint32Array(bits.length * 2);
    const lastWord = Math.floor(this.#next / WORD_BITS);
    for (let word = Math.floor(this.#low / WORD_BITS); word <= lastWord; word++) {
      larger[word & (larger.length - 1)] = bits[word & (bits.length - 1)]!;
    }
    this.#bits = larger;
    return true;
  }
}
