import { ProtocolError } from '#core/errors.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { type BatchKind, Opcode } from './protocol.ts';
import { readRequestLayout, readValues } from './request-layout.ts';
import { encodeBatchTail, type QueryParameters } from './request-messages.ts';

const HEAD_BYTES = 3;
/** Longer values are copied by the engine, shorter ones in a loop: making a view costs more than they do. */
const SHORT_BYTES = 48;
/** <n> is a [short]. */
const MAX_STATEMENTS = 0xffff;

/**
 * The body of a BATCH (section 4.1.7) that grows statement by statement, in a buffer that can be used again:
 *
 *   <type [byte]><n [short]>(<kind [byte]><query [long string] or id [short bytes]><n [short]><value>…)…<tail>
 *
 * Values are copied from wherever they lie, so that a row costs no object.
 */
export class BatchBody {
  #bytes: Buffer;
  #view: DataView;
  #length = HEAD_BYTES;
  #count = 0;

  constructor(expectedBytes = 4096) {
    this.#bytes = Buffer.allocUnsafeSlow(expectedBytes);
    this.#view = viewOf(this.#bytes);
  }

  /** Bytes so far, without the tail. */
  get length(): number {
    return this.#length;
  }

  /** Statements so far. */
  get count(): number {
    return this.#count;
  }

  /** What the buffer has room for before it must grow. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** Forgets what came behind: `length` and `count` as they were. */
  truncate(length: number, count: number): void {
    this.#length = length;
    this.#count = count;
  }

  clear(): void {
    this.truncate(HEAD_BYTES, 0);
  }

  /** Begins a prepared statement; so many values follow. */
  prepared(id: Uint8Array, valueCount: number): void {
    const at = this.#room(1 + 2 + id.length + 2);
    this.#bytes[at] = 1;
    this.#view.setUint16(at + 1, id.length);
    for (let index = 0; index < id.length; index++) this.#bytes[at + 3 + index] = id[index]!;
    this.#view.setUint16(at + 3 + id.length, valueCount);
    this.#count++;
  }

  /** Begins a statement that is not prepared; so many values follow. */
  text(text: string, valueCount: number): void {
    const textBytes = Buffer.byteLength(text);
    const at = this.#room(1 + 4 + textBytes + 2);
    this.#bytes[at] = 0;
    this.#view.setInt32(at + 1, textBytes);
    this.#bytes.write(text, at + 5);
    this.#view.setUint16(at + 5 + textBytes, valueCount);
    this.#count++;
  }

  /** A value that is bytes [start, end) of `source`. */
  slice(source: Uint8Array, start: number, end: number): void {
    const length = end - start;
    const at = this.#room(4 + length);
    const bytes = this.#bytes;
    this.#view.setInt32(at, length);
    if (length > SHORT_BYTES) {
      bytes.set(source.subarray(start, end), at + 4);
      return;
    }
    for (let from = start, to = at + 4; from < end; from++, to++) bytes[to] = source[from]!;
  }

  value(value: BoundValue): void {
    if (value === undefined) this.unset();
    else if (value === null) this.null();
    else this.slice(value, 0, value.length);
  }

  null(): void {
    const at = this.#room(4);
    this.#view.setInt32(at, -1);
  }

  unset(): void {
    const at = this.#room(4);
    this.#view.setInt32(at, -2);
  }

  bigint(value: bigint): void {
    const at = this.#room(12);
    this.#view.setInt32(at, 8);
    this.#view.setBigInt64(at + 4, value);
  }

  int(value: number): void {
    const at = this.#room(8);
    this.#view.setInt32(at, 4);
    this.#view.setInt32(at + 4, value);
  }

  /** The whole body; it shares memory with this object, whose `length` and `count` stay as they are. @throws ProtocolError */
  finish(kind: BatchKind, tail: Uint8Array): Buffer {
    if (this.#count > MAX_STATEMENTS) throw new ProtocolError(`a batch can't hold ${this.#count} statements`);
    const length = this.#length;
    this.#bytes[0] = kind;
    this.#view.setUint16(1, this.#count);
    const at = this.#room(tail.length);
    this.#bytes.set(tail, at);
    this.#length = length;
    return this.#bytes.subarray(0, at + tail.length);
  }

  #room(byteLength: number): number {
    const start = this.#length;
    const end = start + byteLength;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, start);
      this.#bytes = larger;
      this.#view = viewOf(larger);
    }
    this.#length = end;
    return start;
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export interface BatchStatement {
  readonly text?: string;
  readonly id?: Uint8Array;
  readonly values: readonly BoundValue[];
}

/** A v3 server would take unset for null and write a tombstone. @throws ProtocolError */
export function requireUnset(version: number): void {
  if (version < 4) throw new ProtocolError('protocol v3 has no unset values');
}

type BatchParameters = Omit<QueryParameters, 'values' | 'names' | 'pageSize' | 'pagingState' | 'skipMetadata'>;

/** BATCH of statements that are there already. @throws ProtocolError when the protocol version lacks something */
export function encodeBatch(
  kind: BatchKind,
  statements: readonly BatchStatement[],
  parameters: BatchParameters,
  version: number,
): Buffer {
  const body = new BatchBody(1024);
  for (const { id, text, values } of statements) {
    if (id) body.prepared(id, values.length);
    else body.text(text ?? '', values.length);
    for (const value of values) {
      if (value === undefined) requireUnset(version);
      body.value(value);
    }
  }
  return body.finish(kind, encodeBatchTail(parameters, version));
}

/**
 * The same BATCH with other ids for its prepared statements. @throws ProtocolError
 * @param newId by the old id in hex
 */
export function replaceIds(batch: Buffer, newId: ReadonlyMap<string, Uint8Array>, version: number): Buffer {
  const layout = readRequestLayout(Opcode.BATCH, batch, version);
  const body = new BatchBody(batch.length + HEAD_BYTES);
  for (const statement of layout.statements) {
    const values = readValues(batch, statement);
    const { id, text } = statement;
    if (id) body.prepared(newId.get(id.toString('hex')) ?? id, values.length);
    else body.text(text ?? '', values.length);
    for (const { value } of values) body.value(value);
  }
  return body.finish(batch[0] as BatchKind, batch.subarray(layout.consistencyOffset));
}
