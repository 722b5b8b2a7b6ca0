import type { SSTable } from './sstable.ts';
import { corrupt } from './sstable-files.ts';

interface Place {
  readonly token: bigint;
  /** Plain position in Data.db. */
  readonly position: number;
}

/** Partitions that the index is asked for. */
const MAX_PLACES = 256;

/** Partitions spread evenly over a file whose length in partitions is not known before: a fixed number of them. */
export class PlaceSample {
  #places: Place[] = [];
  #step = 1;
  #seen = 0;

  add(place: Place): void {
    if (this.#seen++ % this.#step !== 0) return;
    this.#places.push(place);
    if (this.#places.length <= MAX_PLACES) return;
    this.#places = this.#places.filter((_, index) => index % 2 === 0);
    this.#step *= 2;
  }

  /**
   * Asks the index for each of them, by its token alone.
   * @throws SSTableCorruptError when it leads elsewhere
   */
  async check(sstable: SSTable, signal?: AbortSignal): Promise<void> {
    for (const { token, position } of this.#places) {
      // Nothing has the least token of all: see Murmur3Partitioner.
      const span = await sstable.index.locate({ start: token - 1n, end: token }, signal);
      if ((span.next ?? span.start) <= position && position < span.end) continue;
      throw corrupt(
        sstable.name,
        0,
        `the index leads from token ${token} to ${span.next ?? span.start} up to ${span.end}, but its partition is at ${position}; rebuild it with sstablescrub or nodetool upgradesstables -a`,
      );
    }
  }
}
