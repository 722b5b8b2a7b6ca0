/**
 * The requests under construction. Rows of one partition become one mutation; small partitions that have the same
 * replicas share a request, as far as no server warns of it.
 */

import type { TargetWriter } from './target-writer.ts';
import type { WriteRequest } from './write-request.ts';

/** Of one partition. */
const MAX_STATEMENTS = 50;
const MAX_BYTES = 100 * 1024;
/** Of several: Cassandra warns of more than 10 partitions and of more than 5 KiB, and refuses 50 KiB, of mutations. */
const MAX_PARTITIONS = 10;
const MAX_SHARED_BYTES = 4608;

export class RequestWindow<Position> {
  readonly #writer: TargetWriter<Position>;
  /** One for each `now_in_seconds`. */
  #open: WriteRequest<Position>[] = [];
  /** Being handed over. */
  #leaving: WriteRequest<Position>[] = [];
  #statements = 0;
  #bytes = 0;
  #partitions = 0;
  #replicas: number | undefined;
  /** Of the partition that is being written, of which perhaps nothing is here. */
  #current: { routingKey: Uint8Array; position: Position; replicas: number | undefined } | undefined;
  #hasCurrent = false;

  constructor(writer: TargetWriter<Position>) {
    this.#writer = writer;
  }

  /** Where the oldest statement that is still here stands. */
  get oldest(): { readonly position: Position } | undefined {
    return this.#leaving[0] ?? this.#open[0];
  }

  /** What comes from now on is of this partition. */
  startPartition(routingKey: Uint8Array, position: Position, replicas: number | undefined): void {
    this.#current = { routingKey, position, replicas };
    this.#hasCurrent = false;
  }

  /** What comes from now on stands behind this position, in the same partition. */
  moveTo(position: Position): void {
    this.#current!.position = position;
  }

  /**
   * The request that the next statement of the current partition goes to, or undefined: `flush` first.
   * @param nowInSeconds undefined: any request will do
   * @param bytes what the statement takes in a mutation, about
   */
  place(nowInSeconds: number | undefined, bytes: number): WriteRequest<Position> | undefined {
    if (this.#statements > 0 && !this.#hasRoom(bytes)) return undefined;
    const { routingKey, position, replicas } = this.#current!;
    if (!this.#hasCurrent) {
      this.#hasCurrent = true;
      this.#partitions++;
      this.#replicas = replicas;
    }
    this.#statements++;
    this.#bytes += bytes;
    const known = this.#find(nowInSeconds);
    if (known !== undefined) {
      known.nowInSeconds ??= nowInSeconds;
      return known;
    }
    // All have the position of the first: they leave together.
    const request = this.#writer.take(this.#open[0]?.position ?? position);
    // A copy: a window of an SSTable would live until the answer, however little of it is in the request.
    request.routingKey = new Uint8Array(routingKey);
    request.nowInSeconds = nowInSeconds;
    this.#open.push(request);
    return request;
  }

  #hasRoom(bytes: number): boolean {
    const partitions = this.#partitions + (this.#hasCurrent ? 0 : 1);
    if (this.#statements >= MAX_STATEMENTS || this.#bytes + bytes > MAX_BYTES) return false;
    if (partitions === 1) return true;
    if (partitions > MAX_PARTITIONS || this.#bytes + bytes > MAX_SHARED_BYTES) return false;
    return this.#hasCurrent || (this.#replicas !== undefined && this.#replicas === this.#current!.replicas);
  }

  #find(nowInSeconds: number | undefined): WriteRequest<Position> | undefined {
    if (nowInSeconds === undefined) return this.#open[0];
    let free: WriteRequest<Position> | undefined;
    for (const request of this.#open) {
      if (request.nowInSeconds === nowInSeconds) return request;
      if (request.nowInSeconds === undefined) free = request;
    }
    return free;
  }

  /** Hands over what is there; undefined when nothing had to be waited for. */
  flush(): Promise<void> | undefined {
    if (this.#open.length === 0) return undefined;
    this.#leaving = this.#open;
    this.#open = [];
    this.#statements = 0;
    this.#bytes = 0;
    this.#partitions = 0;
    this.#hasCurrent = false;
    return this.#handOver();
  }

  #handOver(): Promise<void> | undefined {
    for (let request = this.#leaving[0]; request !== undefined; request = this.#leaving[0]) {
      const wait = this.#writer.write(request);
      if (wait !== undefined) {
        return wait.then(() => {
          this.#leaving.shift();
          return this.#handOver();
        });
      }
      this.#leaving.shift();
    }
    return undefined;
  }
}
