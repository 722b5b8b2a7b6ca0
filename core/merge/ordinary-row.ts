/**
 * The rows that nearly all rows are: one write time and expiry, simple columns, nothing deleted. They go from the window
 * of the SSTable into the request without anything between; the statements are those that `createGrouping` and
 * `createToStatements` would give.
 */

import type { BatchBody } from '../cql/batch-body.ts';
import { NO_DELETION_TIME, type Row } from '../model/row.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { isExpiredMarker } from './reconcile.ts';
import { nowInSecondsOf, rowTexts } from './statements.ts';

/** What a cell, and a row without its cells, take in a mutation beside the values; AbstractCell.dataSize and Row.dataSize. */
const CELL_BYTES = 20;
const ROW_BYTES = 48;

export interface OrdinaryRowOptions {
  /** The target takes `now_in_seconds`. Without it a row that expires has to be encoded anew for each attempt. */
  readonly exactTimes: boolean;
  readonly nowSeconds: () => number;
}

/** Looks at one row at a time: first `accepts`, then what it says of the row, then perhaps `append`. */
export class OrdinaryRows {
  /** The statement of the row. */
  text = '';
  /** The instant from which its expiry is told; undefined: any. Seconds since the epoch. */
  nowInSeconds: number | undefined;
  /** About what the row takes in a mutation, which is what a server's limits of batches are about. */
  mutationBytes = 0;
  readonly #options: OrdinaryRowOptions;
  readonly #texts: { readonly insert: string; readonly update: string };
  readonly #keyCount: number;
  readonly #columnCount: number;
  #row: Row | undefined;
  #timestampMicros = 0n;
  #ttlSeconds = 0;

  constructor(schema: TableSchema, options: OrdinaryRowOptions) {
    this.#options = options;
    this.#texts = rowTexts(schema);
    this.#keyCount = schema.partitionKey.length;
    this.#columnCount = schema.regularColumns.length;
  }

  /** Whether this row is an ordinary one. */
  accepts(row: Row): boolean {
    const { cells, liveness } = row;
    if (row.isStatic || row.deletion !== undefined || row.multiCells.length > 0) return false;
    const first = cells[0];
    let timestampMicros: bigint;
    let ttlSeconds: number;
    let expiresAtSeconds: number;
    if (liveness !== undefined) {
      if (isExpiredMarker(liveness)) return false;
      ({ timestampMicros, ttlSeconds, expiresAtSeconds } = liveness);
    } else if (first !== undefined) {
      ({ timestampMicros, ttlSeconds, localDeletionTimeSeconds: expiresAtSeconds } = first);
    } else return false;
    let valueBytes = 0;
    for (let index = 0; index < cells.length; index++) {
      const cell = cells[index]!;
      if (
        cell.isTombstone ||
        cell.timestampMicros !== timestampMicros ||
        cell.ttlSeconds !== ttlSeconds ||
        cell.localDeletionTimeSeconds !== expiresAtSeconds
      )
        return false;
      valueBytes += cell.valueEnd - cell.valueStart;
    }
    this.nowInSeconds = undefined;
    if (ttlSeconds !== 0) {
      if (!this.#options.exactTimes || expiresAtSeconds <= this.#options.nowSeconds()) return false;
      this.nowInSeconds = nowInSecondsOf(expiresAtSeconds - ttlSeconds);
      if (this.nowInSeconds === undefined) return false;
    } else if (expiresAtSeconds !== NO_DELETION_TIME) return false;
    this.#row = row;
    this.#timestampMicros = timestampMicros;
    this.#ttlSeconds = ttlSeconds;
    this.text = liveness === undefined ? this.#texts.update : this.#texts.insert;
    const { offsets } = row.clustering;
    for (let index = 0; index < offsets.length; index += 2) valueBytes += offsets[index + 1]! - offsets[index]!;
    this.mutationBytes = ROW_BYTES + valueBytes + CELL_BYTES * cells.length;
    return true;
  }

  /**
   * Appends the statement of the row that was accepted last.
   * @param id of `text`
   * @param key the values of the partition key
   */
  append(body: BatchBody, id: Uint8Array, key: readonly Uint8Array[]): void {
    const row = this.#row!;
    const places = this.#keyCount + row.clustering.length;
    body.prepared(id, places + this.#columnCount + 2);
    if (row.liveness !== undefined) {
      appendPlace(body, row, key);
      this.#appendCells(body, row);
      body.bigint(this.#timestampMicros);
      body.int(this.#ttlSeconds);
    } else {
      body.bigint(this.#timestampMicros);
      body.int(this.#ttlSeconds);
      this.#appendCells(body, row);
      appendPlace(body, row, key);
    }
  }

  #appendCells(body: BatchBody, row: Row): void {
    const { cells } = row;
    let column = 0;
    for (let index = 0; index < cells.length; index++) {
      const cell = cells[index]!;
      for (; column < cell.column; column++) body.unset();
      body.slice(cell.bytes, cell.valueStart, cell.valueEnd);
      column++;
    }
    for (; column < this.#columnCount; column++) body.unset();
  }
}

function appendPlace(body: BatchBody, row: Row, key: readonly Uint8Array[]): void {
  for (let index = 0; index < key.length; index++) body.slice(key[index]!, 0, key[index]!.length);
  const { bytes, offsets } = row.clustering;
  for (let index = 0; index < offsets.length; index += 2) {
    const start = offsets[index]!;
    if (start < 0) body.null();
    else body.slice(bytes, start, offsets[index + 1]!);
  }
}
