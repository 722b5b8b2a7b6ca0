import { compareClustering, type Positioned } from '#core/merge/compare-clustering.ts';
import type { PartitionEvent } from '#core/model/row.ts';
import type { SerializationHeader } from './serialization-header.ts';
import { corrupt } from './sstable-files.ts';

/**
 * Checks that rows and markers of each partition ascend. Only a verification pays for it: checksums tell what was
 * damaged on the way, and this what was written wrongly in the first place.
 */
export class RowOrder {
  readonly #compare: (left: Positioned, right: Positioned) => number;
  readonly #name: string;
  #last: Positioned | undefined;

  /** @param name of Data.db, for messages */
  constructor({ clusteringTypes, clusteringReversed }: SerializationHeader, name: string) {
    const columns = clusteringTypes.map((type, index) => ({ name: '', type, reversed: clusteringReversed[index]! }));
    this.#compare = compareClustering(columns);
    this.#name = name;
  }

  /** @param position of the event in the plain data @throws SSTableCorruptError */
  check(event: PartitionEvent, position: number): void {
    if (event.kind === 'partition') this.#last = undefined;
    if ((event.kind !== 'row' || event.isStatic) && event.kind !== 'marker') return;
    if (this.#last !== undefined && this.#compare(this.#last, event) >= 0) {
      throw corrupt(this.#name, position, 'a row is not behind the one before it (offset of the plain data)');
    }
    this.#last = event;
  }
}
