import type { RowFilter } from '../merge/filter-rows.ts';
import type { Write } from '../merge/writes.ts';
import { splitPartitionKey } from '../model/partition-key.ts';
import type { PartitionEvent } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { TargetWriter } from './target-writer.ts';

const MAX_CHUNK_WRITES = 50;
const MAX_CHUNK_BYTES = 100 * 1024;

/** Collects the writes of a partition and hands them over in chunks. */
export class PartitionCopy {
  token: bigint | undefined;
  readonly #columnCount: number;
  readonly #filter: RowFilter | undefined;
  readonly #writer: TargetWriter;
  readonly #add: (name: string, by: number) => void;
  #key: Uint8Array = new Uint8Array(0);
  #values: readonly Uint8Array[] = [];
  #tokenBefore: bigint | undefined;
  #isExcluded = false;
  #writes: Write[] = [];
  #bytes = 0;

  constructor(
    schema: TableSchema,
    filter: RowFilter | undefined,
    writer: TargetWriter,
    add: (name: string, by: number) => void,
  ) {
    this.#columnCount = schema.partitionKey.length;
    this.#filter = filter;
    this.#writer = writer;
    this.#add = add;
  }

  start(key: Uint8Array, token: bigint, tokenBefore: bigint | undefined): void {
    this.token = token;
    this.#key = key;
    this.#values = splitPartitionKey(key, this.#columnCount);
    this.#tokenBefore = tokenBefore;
    this.#isExcluded = this.#filter !== undefined && !this.#filter.startPartition(this.#values);
    this.#add(this.#isExcluded ? 'excludedPartitions' : 'partitions', 1);
  }

  async accept(event: PartitionEvent, group: (event: PartitionEvent) => Write[]): Promise<void> {
    if (event.kind === 'end') return this.#flush();
    if (this.#isExcluded) return;
    if (event.kind === 'row') {
      if (this.#filter !== undefined && !this.#filter.acceptRow(event)) return this.#add('excludedRows', 1);
      this.#add('rows', 1);
      this.#add(
        'cells',
        event.multiCells.reduce((sum, { cells }) => sum + cells.length, event.cells.length),
      );
    }
    for (const write of group(event)) {
      this.#writes.push(write);
      this.#bytes += bytesOf(write);
      if (this.#writes.length >= MAX_CHUNK_WRITES || this.#bytes >= MAX_CHUNK_BYTES) await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    if (this.#writes.length === 0) return;
    const writes = this.#writes;
    this.#writes = [];
    this.#bytes = 0;
    await this.#writer.write({
      partitionKey: this.#values,
      routingKey: this.#key,
      tokenBefore: this.#tokenBefore,
      writes,
    });
  }
}

function bytesOf(write: Write): number {
  if (write.kind === 'list') return write.parts.reduce((sum, { value }) => sum + value.length, 0);
  if (write.kind !== 'insert' && write.kind !== 'update') return 0;
  return write.assignments.reduce((sum, { value }) => sum + (value?.length ?? 0), 0);
}
