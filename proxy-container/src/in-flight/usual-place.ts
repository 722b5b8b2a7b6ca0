import { QueryFlag } from '#core/cql/protocol.ts';
import { keyLiteralBytes } from '#core/statement/key-literal.ts';
import { tokenHalves } from '#core/token/token.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import type { UsualPlace } from './in-flight-port.ts';

/** A key's column holds no more. */
const MAX_VALUE_BYTES = 0xffff;
const FIRST_SCRATCH_BYTES = 1024;

/**
 * Where a prepared statement finds the partition key of what it writes; none: nowhere. undefined: that is not known yet.
 * @param keyspace of its table
 */
export function keyOf(entry: PreparedEntry, keyspace: string, schema: SchemaFacts): UsualPlace['key'] | undefined {
  const { statement } = entry;
  if (!statement.isUnderstood || statement.isJson || !schema.isMurmur3) return [];
  const table = statement.table!;
  const columns = entry.keyColumns ?? schema.known(keyspace, table)?.partitionKey;
  if (columns === undefined) return undefined;
  const key: (number | Uint8Array)[] = [];
  for (const column of columns) {
    const term = statement.boundColumns.get(column);
    if (term?.kind === 'marker') key.push(term.index);
    else if (term?.kind !== 'literal') return [];
    else {
      const facts = schema.known(keyspace, table);
      if (facts === undefined) return undefined;
      const bytes = keyLiteralBytes(term.text, facts.keyTypes.get(column) ?? '');
      if (bytes === undefined) return [];
      key.push(bytes);
    }
  }
  return key;
}

/** Finds the tokens of usual writes in their frames, without making anything for each. */
export class UsualTokens {
  /** The token that was found last: its lower half, its upper half. */
  readonly halves = new Int32Array(2);
  #scratch = Buffer.allocUnsafeSlow(FIRST_SCRATCH_BYTES);
  /** Of the value that was found last. */
  #start = 0;
  #end = 0;

  /**
   * Finds the token of what an EXECUTE writes that is known to be whole. False: its key is not in it.
   * @param flagsOffset of its parameters
   */
  find(key: UsualPlace['key'], bytes: Buffer, flagsOffset: number, version: number): boolean {
    const lastFlags = bytes[version >= 5 ? flagsOffset + 3 : flagsOffset]!;
    if (key.length === 0 || (lastFlags & QueryFlag.VALUES) === 0) return false;
    const values = flagsOffset + (version >= 5 ? 4 : 1);
    if (key.length > 1) return this.#findComposite(key, bytes, values);
    const [part] = key;
    if (typeof part !== 'number') tokenHalves(part!, 0, part!.length, this.halves);
    else if (!this.#seek(bytes, values, part)) return false;
    else tokenHalves(bytes, this.#start, this.#end, this.halves);
    return true;
  }

  /** Each column with its length before it and a zero byte behind it. */
  #findComposite(key: UsualPlace['key'], bytes: Buffer, values: number): boolean {
    let at = 0;
    for (const part of key) {
      let from: Uint8Array = bytes;
      if (typeof part !== 'number') {
        from = part;
        this.#start = 0;
        this.#end = part.length;
      } else if (!this.#seek(bytes, values, part)) return false;
      const length = this.#end - this.#start;
      if (length > MAX_VALUE_BYTES) return false;
      const scratch = this.#roomFor(at + length + 3);
      scratch[at] = length >> 8;
      scratch[at + 1] = length & 0xff;
      for (let index = 0; index < length; index++) scratch[at + 2 + index] = from[this.#start + index]!;
      at += length + 3;
      scratch[at - 1] = 0;
    }
    tokenHalves(this.#scratch, 0, at, this.halves);
    return true;
  }

  /** Looks up a value behind its count. False: it is not there, null, unset or empty, which no key is. */
  #seek(bytes: Buffer, values: number, marker: number): boolean {
    if (marker >= bytes.readUInt16BE(values)) return false;
    let at = values + 2;
    let length = bytes.readInt32BE(at);
    for (let index = 0; index < marker; index++) {
      at += length > 0 ? 4 + length : 4;
      length = bytes.readInt32BE(at);
    }
    this.#start = at + 4;
    this.#end = at + 4 + length;
    return length > 0;
  }

  #roomFor(length: number): Buffer {
    if (length > this.#scratch.length) {
      const larger = Buffer.allocUnsafeSlow(length * 2);
      this.#scratch.copy(larger);
      this.#scratch = larger;
    }
    return this.#scratch;
  }
}
