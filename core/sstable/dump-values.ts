/** Values as sstabledump prints them. */
import { ByteReader } from '#core/bytes/byte-reader.ts';
import { dayText, timeOfDayText } from '#core/model/calendar-text.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import { splitPartitionKey } from '#core/model/partition-key.ts';
import { renderPlain, renderValue } from '#core/model/render-value.ts';
import type { Cell } from '#core/model/row.ts';
import { counterTotal } from './counter-context.ts';

/** The values of a partition key, each as text. */
export function keyTexts(types: readonly CqlType[], key: Uint8Array): string[] {
  return splitPartitionKey(key, types.length).map((part, index) => keyText(types[index]!, part));
}

/** Several values of a key in one text, as CompositeType#getString does. */
export function joinKey(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0]!;
  return texts.map((text) => text.replaceAll('\\', '\\\\').replaceAll(':', '\\:')).join(':');
}

/** A live cell's value as JSON. */
export function valueJson(type: CqlType, cell: Cell, counterTotals: boolean): string {
  switch (type.kind) {
    case 'set':
      return type.frozen ? renderValue(type, cell.value) : '""';
    case 'list':
      return renderValue(type.frozen ? type : type.element, cell.value);
    case 'map':
      return renderValue(type.frozen ? type : type.value, cell.value);
    case 'udt': {
      const { path } = cell;
      const field = path && type.fields[fieldIndex(path)];
      return renderValue(field ? field.type : type, cell.value);
    }
    case 'native':
      if (type.name === 'counter' && counterTotals) return counterTotal(cell.value).toString();
      return renderValue(type, cell.value);
    default:
      return renderValue(type, cell.value);
  }
}

/** The path of a multi-cell column's element as text. */
export function pathText(type: CqlType, path: Uint8Array): string {
  if (type.kind === 'list') return renderPlain({ kind: 'native', name: 'timeuuid' }, path);
  if (type.kind === 'set') return keyText(type.element, path);
  if (type.kind === 'map') return keyText(type.key, path);
  if (type.kind === 'udt') return type.fields[fieldIndex(path)]?.name ?? `field ${fieldIndex(path)}`;
  return renderPlain({ kind: 'native', name: 'blob' }, path);
}

function fieldIndex(path: Uint8Array): number {
  return new ByteReader(path).readUint16();
}

/**
 * Keys and paths are shown as AbstractType#getString does, which JSON values are not: blobs without 0x, collections as
 * their bytes, timestamps with a T, and no number of IEEE 754 as null.
 */
function keyText(type: CqlType, bytes: Uint8Array): string {
  if (type.kind === 'list' || type.kind === 'set' || type.kind === 'map') return Buffer.from(bytes).toString('hex');
  if (type.kind === 'tuple') return tupleText(type.elements, bytes);
  if (type.kind === 'udt') {
    const types = type.fields.map((field) => field.type);
    return tupleText(types, bytes);
  }
  const text = renderPlain(type, bytes);
  if (type.kind !== 'native') return text;
  switch (type.name) {
    case 'blob':
      return text.slice(2);
    case 'timestamp':
      return text.replace(' ', 'T');
    case 'float':
    case 'double': {
      if (text !== 'null' || bytes.length === 0) return text;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      return String(type.name === 'float' ? view.getFloat32(0) : view.getFloat64(0));
    }
    default:
      return text;
  }
}

/** @see org.apache.cassandra.db.marshal.TupleType#getString */
function tupleText(types: readonly CqlType[], bytes: Uint8Array): string {
  const reader = new ByteReader(bytes);
  const texts: string[] = [];
  for (const type of types) {
    if (reader.remaining === 0) break;
    const length = reader.readInt32();
    texts.push(length < 0 ? '@' : keyText(type, reader.readBytes(length)).replace(/[:@]/g, '\\$&'));
  }
  return texts.join(':');
}

const NANOS_PER_SECOND = 1_000_000_000n;
const DAY_SECONDS = 86_400n;
const MAX_LONG = 2n ** 63n - 1n;

/**
 * An instant as sstabledump prints it, faults included, or a comparison of two dumps would find differences that are
 * none: its seconds are cut towards zero, so that a fraction before 1970 comes out a second late, and nanoseconds that
 * do not fit into 64 bits are taken for the largest that do.
 *
 * @see org.apache.cassandra.tools.JsonTransformer#dateString
 */
export function dumpInstant(micros: bigint): string {
  const seconds = micros / 1_000_000n;
  let nanos = micros * 1000n;
  if (nanos > MAX_LONG) nanos = MAX_LONG;
  if (nanos < -MAX_LONG - 1n) nanos = -MAX_LONG - 1n;
  const fraction = modulo(nanos, NANOS_PER_SECOND);
  const secondOfDay = modulo(seconds, DAY_SECONDS);
  const days = Number((seconds - secondOfDay) / DAY_SECONDS);
  const digits = fraction === 0n ? 0 : fraction % 1_000_000n === 0n ? 3 : fraction % 1000n === 0n ? 6 : 9;
  return `${dayText(days)}T${timeOfDayText(secondOfDay * NANOS_PER_SECOND + fraction, digits)}Z`;
}

function modulo(value: bigint, by: bigint): bigint {
  const rest = value % by;
  return rest < 0n ? rest + by : rest;
}
