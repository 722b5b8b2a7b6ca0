import { PrerequisiteError } from '../errors.ts';
import type { RowFilter } from '../merge/filter-rows.ts';
import type { OrdinaryRows } from '../merge/ordinary-row.ts';
import type { BoundStatement, ToStatements } from '../merge/statements.ts';
import type { Write } from '../merge/writes.ts';
import { splitPartitionKey } from '../model/partition-key.ts';
import type { PartitionEvent, PartitionStart } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import type { Clock, LoadSession, PreparedStatement } from '../ports.ts';
import { RequestWindow } from './request-window.ts';
import type { TargetWriter } from './target-writer.ts';

export interface PartitionCopyPorts<Position> {
  readonly target: Pick<LoadSession, 'protocolVersion' | 'replicaSet'>;
  readonly clock: Clock;
  readonly writer: TargetWriter<Position>;
}

/** How the rows of one table become statements. */
export interface PartitionCopyOptions {
  readonly schema: TableSchema;
  readonly filter: RowFilter | undefined;
  readonly ordinary: OrdinaryRows;
  readonly group: (event: PartitionEvent) => Write[];
  readonly toStatements: ToStatements;
  readonly exactTimes: boolean;
}

/** The first with unset values. */
const MIN_VERSION = 4;
/** What a statement takes in a mutation beside its values, about. */
const STATEMENT_BYTES = 64;
const VALUE_BYTES = 20;

/** Takes the events of partitions and hands requests over: ordinary rows straight, the others by their writes. */
export class PartitionCopy<Position> {
  /** What has been taken so far; none of it need be on the target yet. */
  readonly counts = { partitions: 0, excludedPartitions: 0, rows: 0, excludedRows: 0, cells: 0 };
  token: bigint | undefined;
  readonly #ports: PartitionCopyPorts<Position>;
  readonly #options: PartitionCopyOptions;
  readonly #window: RequestWindow<Position>;
  readonly #keyCount: number;
  #values: readonly Uint8Array[] = [];
  #isExcluded = false;
  #isContinued = false;
  #statement: PreparedStatement | undefined;

  /** @throws PrerequisiteError when the target's protocol has no unset values: missing columns would be deleted ones */
  constructor(ports: PartitionCopyPorts<Position>, options: PartitionCopyOptions) {
    const version = ports.target.protocolVersion;
    if (version < MIN_VERSION) {
      throw new PrerequisiteError(
        `the target speaks version ${version} of the native protocol; a load needs ${MIN_VERSION}, of Cassandra 2.2 or later`,
      );
    }
    this.#ports = ports;
    this.#options = options;
    this.#keyCount = options.schema.partitionKey.length;
    this.#window = new RequestWindow(ports.writer);
  }

  /**
   * @param position where the load can go on when everything before this partition is done
   * @param isContinued its deletion, its static row and its first rows were written before
   */
  start({ key, token }: PartitionStart, position: Position, isContinued: boolean): void {
    const { filter } = this.#options;
    this.token = token;
    this.#values = splitPartitionKey(key, this.#keyCount);
    this.#isExcluded = filter !== undefined && !filter.startPartition(this.#values);
    this.#isContinued = isContinued;
    if (!isContinued) this.counts[this.#isExcluded ? 'excludedPartitions' : 'partitions']++;
    this.#window.startPartition(key, position, this.#ports.target.replicaSet(token));
  }

  /** @param position where the load can go on when everything that was accepted is done */
  moveTo(position: Position): void {
    this.#window.moveTo(position);
  }

  /** Where to go on at the moment: what `done` says unless something before that is not on the target yet. */
  completed(done: Position): Position {
    const oldest = this.#ports.writer.oldest ?? this.#window.oldest;
    return oldest === undefined ? done : oldest.position;
  }

  /** Takes one event of the partition; undefined when nothing had to be waited for. */
  accept(event: PartitionEvent): Promise<void> | undefined {
    if (event.kind === 'end' || this.#isExcluded) return undefined;
    if (this.#isContinued && event.kind !== 'marker') {
      if (event.kind === 'partition') return this.#writeAll({ ...event, deletion: undefined });
      if (event.isStatic) {
        this.#options.filter?.acceptRow(event);
        return undefined;
      }
    }
    if (event.kind !== 'row') return this.#writeAll(event);
    const { filter, ordinary } = this.#options;
    if (filter !== undefined && !filter.acceptRow(event)) {
      this.counts.excludedRows++;
      return undefined;
    }
    this.counts.rows++;
    this.counts.cells += event.cells.length;
    for (const { cells } of event.multiCells) this.counts.cells += cells.length;
    if (!ordinary.accepts(event)) return this.#writeAll(event);
    return this.#append() ? undefined : this.#appendLater();
  }

  /** Hands over what has been taken. */
  flush(): Promise<void> | undefined {
    return this.#window.flush();
  }

  /** The ordinary row that was just accepted; false: its text is not prepared yet, or there is no room. */
  #append(): boolean {
    const { ordinary } = this.#options;
    let statement = this.#statement;
    if (statement?.text !== ordinary.text) statement = this.#ports.writer.prepared.known(ordinary.text);
    if (statement === undefined) return false;
    const request = this.#window.place(ordinary.nowInSeconds, ordinary.mutationBytes);
    if (request === undefined) return false;
    this.#statement = statement;
    request.uses(statement);
    ordinary.append(request.body, statement.id, this.#values);
    return true;
  }

  async #appendLater(): Promise<void> {
    const { ordinary } = this.#options;
    await this.#ports.writer.prepared.learn(ordinary.text);
    if (this.#append()) return;
    await this.#window.flush();
    this.#append();
  }

  #writeAll(event: PartitionEvent): Promise<void> | undefined {
    const writes = this.#options.group(event);
    return writes.length === 0 ? undefined : this.#writeEach(writes);
  }

  async #writeEach(writes: readonly Write[]): Promise<void> {
    const { toStatements, exactTimes } = this.#options;
    const { clock, writer, target } = this.#ports;
    for (const write of writes) {
      const context = {
        partitionKey: this.#values,
        nowSeconds: Math.floor(clock.nowMillis() / 1000),
        exactTimes,
        listAttempt: 0,
      };
      const statements = toStatements(write, context);
      if (isKept(write, exactTimes)) {
        const bytes = statements.reduce((sum, statement) => sum + sizeOf(statement), 0);
        const request = await this.#place(statements[0]?.nowInSeconds, bytes);
        request.kept.push({ write, partitionKey: this.#values });
        request.keptBytes += bytes;
        continue;
      }
      for (const statement of statements) {
        const prepared = await writer.prepared.learn(statement.text);
        const request = await this.#place(statement.nowInSeconds, sizeOf(statement));
        request.append(prepared, statement.values, target.protocolVersion);
      }
    }
  }

  async #place(nowInSeconds: number | undefined, bytes: number) {
    const request = this.#window.place(nowInSeconds, bytes);
    if (request !== undefined) return request;
    await this.#window.flush();
    return this.#window.place(nowInSeconds, bytes)!;
  }
}

/** Lists are written later with each attempt; a remaining TTL gets shorter while the attempts wait. */
function isKept(write: Write, exactTimes: boolean): boolean {
  return write.kind === 'list' || (!exactTimes && 'ttlSeconds' in write && write.ttlSeconds !== 0);
}

function sizeOf({ byteLength, values }: BoundStatement): number {
  return STATEMENT_BYTES + byteLength + VALUE_BYTES * values.length;
}
