import type { ClusterName } from '#core/model/cluster-name.ts';
import type { TableName, WrittenTable } from '#core/model/failed-write.ts';

// Failed writes on their way from the thread that serves clients to the one that keeps them. Integers are little-endian.
//
//   chunk   = record*
//   record  = kind u8, length u32 of what follows, body
//   text    = UTF-8                             the first one is number 0; records behind it refer to it by its number
//   write   = flags u8, version u8, opcode u8, 0 u8, epoch u32, failed at f64 (ms), taken at f64 (s), write time i64 (µs),
//             reason u32, keyspace u32, offset u32, tables u16, statements u16, tokens u32,
//             tables × (keyspace u32, table u32), tokens × (index of the table u32, token i64),
//             statements × (text u32, types u32), frame
//   message = failed at f64 (ms), tables u16, tables × (keyspace u32, table u32), UTF-8

const TEXT = 1;
const WRITE = 2;
const MESSAGE = 3;
const HEAD_BYTES = 5;
const WRITE_BYTES = 52;
const MESSAGE_BYTES = 10;
const PAIR_BYTES = 8;
const TOKEN_BYTES = 12;
/** In the place of a text that there is none of. */
const NO_TEXT = 0xffff_ffff;
const ORIGIN_LACKS = 1;
const READ_BACK = 2;
const HAS_TIME = 4;
const MAX_PAIRS = 0xffff;

/** What a statement is besides its values. */
export interface ChunkStatement {
  /** undefined: the frame has it. */
  readonly text: string | undefined;
  /** JSON of the names of its markers' types; undefined: not known. */
  readonly types: string | undefined;
}

/** A failed write as the thread that serves clients hands it over: the frame as it was sent, and what that does not say. */
export interface ChunkWrite {
  readonly destination: ClusterName;
  readonly isReadBack: boolean;
  /** Of the protocol. */
  readonly version: number;
  readonly opcode: number;
  readonly epoch: number;
  readonly failedAtMs: number;
  /** When the proxy took it. Seconds since the epoch. */
  readonly takenAtSeconds: number;
  /** undefined: the frame has it. */
  readonly timestampMicros: bigint | undefined;
  readonly reason: string;
  readonly keyspace: string | undefined;
  readonly tables: readonly WrittenTable[];
  readonly statements: readonly ChunkStatement[];
  readonly frame: Uint8Array;
  /** Where the message begins in the frame. */
  readonly offset: number;
}

/** Something for the queue that is a message already. */
export interface ChunkMessage {
  readonly failedAtMs: number;
  readonly tables: readonly TableName[];
  readonly text: string;
}

export type ChunkRecord = ({ readonly kind: 'write' } & ChunkWrite) | ({ readonly kind: 'message' } & ChunkMessage);

/** Fills memory that both threads see. Adding copies bytes and makes nothing that lives. */
export class ChunkWriter {
  readonly shared: SharedArrayBuffer;
  readonly #bytes: Buffer;
  readonly #numbers = new Map<string, number>();
  /** By the numbers of their names. */
  readonly #tables = new Map<number, TableName>();
  #end = 0;
  #writeCount = 0;

  constructor(shared: SharedArrayBuffer) {
    this.shared = shared;
    this.#bytes = Buffer.from(shared);
  }

  get byteLength(): number {
    return this.#end;
  }

  /** Records in it. */
  get writeCount(): number {
    return this.#writeCount;
  }

  /** Every table that something in it writes. */
  get tables(): readonly TableName[] {
    return [...this.#tables.values()];
  }

  /** What a write takes at the most. Bytes. */
  static sizeOf(write: ChunkWrite): number {
    let bytes =
      2 * HEAD_BYTES + WRITE_BYTES + write.frame.length + sizeOfText(write.reason) + sizeOfText(write.keyspace);
    for (const { keyspace, table, tokens } of write.tables) {
      bytes += PAIR_BYTES + sizeOfText(keyspace) + sizeOfText(table) + (tokens?.length ?? 0) * TOKEN_BYTES;
    }
    for (const { text, types } of write.statements) bytes += PAIR_BYTES + sizeOfText(text) + sizeOfText(types);
    return bytes;
  }

  static sizeOfMessage({ tables, text }: ChunkMessage): number {
    let bytes = HEAD_BYTES + MESSAGE_BYTES + Buffer.byteLength(text);
    for (const { keyspace, table } of tables) bytes += PAIR_BYTES + sizeOfText(keyspace) + sizeOfText(table);
    return bytes;
  }

  /** False: there is no room for it, and nothing was added. */
  add(write: ChunkWrite): boolean {
    if (this.#end + ChunkWriter.sizeOf(write) > this.#bytes.length) return false;
    const { tables, statements, frame } = write;
    if (tables.length > MAX_PAIRS || statements.length > MAX_PAIRS) return false;
    const reason = this.#numberOf(write.reason);
    const keyspace = this.#numberOf(write.keyspace);
    this.#name(tables);
    for (const one of statements) {
      this.#numberOf(one.text);
      this.#numberOf(one.types);
    }
    const bytes = this.#bytes;
    const pairBytes = (tables.length + statements.length) * PAIR_BYTES;
    let tokenCount = 0;
    for (const { tokens } of tables) tokenCount += tokens?.length ?? 0;
    let at = this.#begin(WRITE, WRITE_BYTES + pairBytes + tokenCount * TOKEN_BYTES + frame.length);
    const micros = write.timestampMicros;
    bytes[at] =
      (write.destination === 'origin' ? ORIGIN_LACKS : 0) |
      (write.isReadBack ? READ_BACK : 0) |
      (micros === undefined ? 0 : HAS_TIME);
    bytes[at + 1] = write.version;
    bytes[at + 2] = write.opcode;
    bytes[at + 3] = 0;
    bytes.writeUInt32LE(write.epoch >>> 0, at + 4);
    bytes.writeDoubleLE(write.failedAtMs, at + 8);
    bytes.writeDoubleLE(write.takenAtSeconds, at + 16);
    if (micros !== undefined) bytes.writeBigInt64LE(BigInt.asIntN(64, micros), at + 24);
    bytes.writeUInt32LE(reason, at + 32);
    bytes.writeUInt32LE(keyspace, at + 36);
    bytes.writeUInt32LE(write.offset, at + 40);
    bytes.writeUInt16LE(tables.length, at + 44);
    bytes.writeUInt16LE(statements.length, at + 46);
    bytes.writeUInt32LE(tokenCount, at + 48);
    at += WRITE_BYTES;
    for (const one of tables) at = this.#pair(this.#numberOf(one.keyspace), this.#numberOf(one.table), at);
    for (const [index, { tokens }] of tables.entries()) {
      for (const token of tokens ?? []) {
        bytes.writeUInt32LE(index, at);
        bytes.writeBigInt64LE(token, at + 4);
        at += TOKEN_BYTES;
      }
    }
    for (const one of statements) at = this.#pair(this.#numberOf(one.text), this.#numberOf(one.types), at);
    bytes.set(frame, at);
    this.#end = at + frame.length;
    this.#writeCount++;
    return true;
  }

  /** The same for what is a message already. */
  addMessage(message: ChunkMessage): boolean {
    if (this.#end + ChunkWriter.sizeOfMessage(message) > this.#bytes.length) return false;
    const { tables, text } = message;
    this.#name(tables);
    const byteCount = Buffer.byteLength(text);
    let at = this.#begin(MESSAGE, MESSAGE_BYTES + tables.length * PAIR_BYTES + byteCount);
    this.#bytes.writeDoubleLE(message.failedAtMs, at);
    this.#bytes.writeUInt16LE(tables.length, at + 8);
    at += MESSAGE_BYTES;
    for (const one of tables) at = this.#pair(this.#numberOf(one.keyspace), this.#numberOf(one.table), at);
    this.#bytes.write(text, at);
    this.#end = at + byteCount;
    this.#writeCount++;
    return true;
  }

  #name(tables: readonly TableName[]): void {
    for (const one of tables) {
      const key = this.#numberOf(one.keyspace) * MAX_PAIRS + this.#numberOf(one.table);
      if (!this.#tables.has(key)) this.#tables.set(key, one);
    }
  }

  /** The number of a text, which is written before its first use. */
  #numberOf(text: string | undefined): number {
    if (text === undefined) return NO_TEXT;
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    this.#numbers.set(text, number);
    const byteCount = Buffer.byteLength(text);
    const at = this.#begin(TEXT, byteCount);
    this.#bytes.write(text, at);
    this.#end = at + byteCount;
    return number;
  }

  #begin(kind: number, byteCount: number): number {
    this.#bytes[this.#end] = kind;
    this.#bytes.writeUInt32LE(byteCount, this.#end + 1);
    return this.#end + HEAD_BYTES;
  }

  #pair(first: number, second: number, at: number): number {
    this.#bytes.writeUInt32LE(first, at);
    this.#bytes.writeUInt32LE(second, at + 4);
    return at + PAIR_BYTES;
  }
}

/** An upper bound of what a text takes when it is not there yet. */
function sizeOfText(text: string | undefined): number {
  return text === undefined ? 0 : HEAD_BYTES + text.length * 3;
}

/** The records of a chunk, in their order. Frames are views of its memory. @throws RangeError when it is none */
export function* readChunk(bytes: Buffer): Generator<ChunkRecord> {
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at];
    const start = at + HEAD_BYTES;
    const end = start + bytes.readUInt32LE(at + 1);
    if (end > bytes.length) throw new RangeError('a record of a chunk is longer than the chunk');
    at = end;
    if (kind === TEXT) texts.push(bytes.toString('utf8', start, end));
    else if (kind === WRITE) yield readWrite(bytes, start, end, texts);
    else if (kind === MESSAGE) yield readMessage(bytes, start, end, texts);
    else throw new RangeError(`a record of a chunk is of the unknown kind ${kind}`);
  }
}

function readWrite(bytes: Buffer, start: number, end: number, texts: readonly string[]): ChunkRecord {
  const tableCount = bytes.readUInt16LE(start + 44);
  const statementCount = bytes.readUInt16LE(start + 46);
  const tokensStart = start + WRITE_BYTES + tableCount * PAIR_BYTES;
  const statementsStart = tokensStart + bytes.readUInt32LE(start + 48) * TOKEN_BYTES;
  const tokens = new Map<number, bigint[]>();
  for (let at = tokensStart; at < statementsStart; at += TOKEN_BYTES) {
    const index = bytes.readUInt32LE(at);
    const token = bytes.readBigInt64LE(at + 4);
    const known = tokens.get(index);
    if (known) known.push(token);
    else tokens.set(index, [token]);
  }
  return {
    kind: 'write',
    destination: (bytes[start]! & ORIGIN_LACKS) !== 0 ? 'origin' : 'target',
    isReadBack: (bytes[start]! & READ_BACK) !== 0,
    version: bytes[start + 1]!,
    opcode: bytes[start + 2]!,
    epoch: bytes.readUInt32LE(start + 4),
    failedAtMs: bytes.readDoubleLE(start + 8),
    takenAtSeconds: bytes.readDoubleLE(start + 16),
    timestampMicros: (bytes[start]! & HAS_TIME) !== 0 ? bytes.readBigInt64LE(start + 24) : undefined,
    reason: textAt(bytes, start + 32, texts) ?? '',
    keyspace: textAt(bytes, start + 36, texts),
    offset: bytes.readUInt32LE(start + 40),
    tables: tablesAt(bytes, start + WRITE_BYTES, tableCount, texts).map((table, index) => {
      const known = tokens.get(index);
      return known ? { ...table, tokens: known } : table;
    }),
    statements: Array.from({ length: statementCount }, (_, index) => {
      const at = statementsStart + index * PAIR_BYTES;
      return { text: textAt(bytes, at, texts), types: textAt(bytes, at + 4, texts) };
    }),
    frame: bytes.subarray(statementsStart + statementCount * PAIR_BYTES, end),
  };
}

function readMessage(bytes: Buffer, start: number, end: number, texts: readonly string[]): ChunkRecord {
  const tableCount = bytes.readUInt16LE(start + 8);
  return {
    kind: 'message',
    failedAtMs: bytes.readDoubleLE(start),
    tables: tablesAt(bytes, start + MESSAGE_BYTES, tableCount, texts),
    text: bytes.toString('utf8', start + MESSAGE_BYTES + tableCount * PAIR_BYTES, end),
  };
}

function tablesAt(bytes: Buffer, start: number, count: number, texts: readonly string[]): TableName[] {
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * PAIR_BYTES;
    return { keyspace: textAt(bytes, at, texts) ?? '', table: textAt(bytes, at + 4, texts) ?? '' };
  });
}

function textAt(bytes: Buffer, at: number, texts: readonly string[]): string | undefined {
  const number = bytes.readUInt32LE(at);
  return number === NO_TEXT ? undefined : texts[number];
}
