import { ByteReader } from '../bytes/byte-reader.ts';
import { dayText, timeOfDayText, timestampText } from './calendar-text.ts';
import type { CqlType, NativeTypeName } from './cql-type.ts';
import { decimalText, doubleText, floatText, signedInteger } from './render-number.ts';

/** `json`: as sstabledump and SELECT JSON print values. `cql`: as a literal of CQL. */
export type RenderStyle = 'json' | 'cql';

/** How a native type's text stands: as it is, or as a string (in JSON; in CQL only where `quotedInCql`). */
interface Rendered {
  readonly text: string;
  readonly isString: boolean;
  readonly isQuotedInCql?: boolean;
}

/**
 * Text of a value from its protocol bytes. Never throws: bytes that are no value of the type come out as hexadecimal,
 * since this is for people who look for what is wrong.
 */
export function renderValue(type: CqlType, bytes: Uint8Array | null, style: RenderStyle = 'json'): string {
  if (bytes === null) return 'null';
  try {
    return render(type, bytes, style);
  } catch (error) {
    if (error instanceof RangeError) return style === 'json' ? `"${hex(bytes)}"` : hex(bytes);
    throw error;
  }
}

/** The bare text of a value: no quotes around strings. Blobs as 0x…. */
export function renderPlain(type: CqlType, bytes: Uint8Array): string {
  const text = renderValue(type, bytes, 'json');
  return text.startsWith('"') ? (JSON.parse(text) as string) : text;
}

function render(type: CqlType, bytes: Uint8Array, style: RenderStyle): string {
  // Every type but the string ones takes zero bytes for "empty", a relic that is neither null nor a value.
  if (bytes.length === 0 && !(type.kind === 'native' && KEEPS_EMPTY.has(type.name))) {
    return style === 'json' ? '""' : "''";
  }
  switch (type.kind) {
    case 'native':
      return quote(renderNative(type.name, bytes), style);
    case 'list':
    case 'set': {
      const texts = readElements(bytes).map((element) => renderElement(type.element, element, style));
      return type.kind === 'set' && style === 'cql' ? `{${texts.join(', ')}}` : `[${texts.join(', ')}]`;
    }
    case 'map': {
      const elements = readElements(bytes, 2);
      const entries: string[] = [];
      for (let index = 0; index + 1 < elements.length; index += 2) {
        const key = renderElement(type.key, elements[index], style);
        entries.push(
          `${style === 'json' ? jsonKey(key) : key}: ${renderElement(type.value, elements[index + 1], style)}`,
        );
      }
      return `{${entries.join(', ')}}`;
    }
    case 'tuple': {
      const fields = readFields(bytes, type.elements.length);
      const texts = fields.map((field, index) => renderElement(type.elements[index]!, field, style));
      return style === 'json' ? `[${texts.join(', ')}]` : `(${texts.join(', ')})`;
    }
    case 'udt': {
      const fields = readFields(bytes, type.fields.length);
      const texts = type.fields.map(({ name, type: fieldType }, index) => {
        const isLower = name === name.toLowerCase();
        const shown = isLower ? name : `"${name}"`;
        return `${style === 'json' ? JSON.stringify(shown) : shown}: ${renderElement(fieldType, fields[index], style)}`;
      });
      return `{${texts.join(', ')}}`;
    }
    case 'vector':
      return `[${readVector(type.element, type.dimensions, bytes)
        .map((element) => renderElement(type.element, element, style))
        .join(', ')}]`;
  }
}

const KEEPS_EMPTY: ReadonlySet<NativeTypeName> = new Set(['ascii', 'text', 'blob']);

function renderElement(type: CqlType, bytes: Uint8Array | undefined, style: RenderStyle): string {
  return bytes === undefined ? 'null' : render(type, bytes, style);
}

function quote({ text, isString, isQuotedInCql }: Rendered, style: RenderStyle): string {
  if (style === 'json') return isString ? JSON.stringify(text) : text;
  return isQuotedInCql ? `'${text.replaceAll("'", "''")}'` : text;
}

function jsonKey(json: string): string {
  return json.startsWith('"') ? json : JSON.stringify(json);
}

function renderNative(name: NativeTypeName, bytes: Uint8Array): Rendered {
  const reader = new ByteReader(bytes);
  const number = (text: string): Rendered => ({ text, isString: false });
  const bare = (text: string): Rendered => ({ text, isString: true });
  const quoted = (text: string): Rendered => ({ text, isString: true, isQuotedInCql: true });
  switch (name) {
    case 'ascii':
    case 'text':
      return quoted(reader.readText(bytes.length));
    case 'blob':
      return bare(hex(bytes));
    case 'boolean':
      return number(reader.readUint8() === 0 ? 'false' : 'true');
    case 'tinyint':
      return number(reader.readInt8().toString());
    case 'smallint':
      return number(reader.readInt16().toString());
    case 'int':
      return number(reader.readInt32().toString());
    case 'bigint':
    case 'counter':
      return number(reader.readInt64().toString());
    case 'varint':
      return number(signedInteger(bytes).toString());
    case 'decimal': {
      const scale = reader.readInt32();
      return number(decimalText(signedInteger(reader.readBytes(reader.remaining)), scale));
    }
    case 'float': {
      const value = reader.readFloat32();
      // JSON has no NaN and no infinity; Cassandra writes null for them.
      return number(Number.isFinite(value) ? floatText(value) : 'null');
    }
    case 'double': {
      const value = reader.readFloat64();
      return number(Number.isFinite(value) ? doubleText(value) : 'null');
    }
    case 'uuid':
    case 'timeuuid':
      return bare(uuidText(reader.readBytes(16)));
    case 'timestamp':
      return quoted(timestampText(reader.readInt64()));
    case 'date':
      // Days from −2^31 on, as an unsigned number.
      return quoted(dayText(reader.readUint32() - 0x80000000));
    case 'time':
      return quoted(timeOfDayText(reader.readInt64(), 9));
    case 'inet':
      return quoted(inetText(bytes));
    case 'duration':
      return bare(durationText(reader));
    case 'empty':
      return quoted('');
  }
}

/** i32 count; each i32 length, bytes. A negative length is null. */
function readElements(bytes: Uint8Array, perEntry: 1 | 2 = 1): (Uint8Array | undefined)[] {
  const reader = new ByteReader(bytes);
  const count = reader.readInt32() * perEntry;
  if (count < 0 || count * 4 > reader.remaining) throw new RangeError(`${count} elements in ${bytes.length} bytes`);
  return Array.from({ length: count }, () => reader.readBytes32());
}

/** i32 length, bytes, for each field; trailing fields may be missing. */
function readFields(bytes: Uint8Array, count: number): (Uint8Array | undefined)[] {
  const reader = new ByteReader(bytes);
  return Array.from({ length: count }, () => (reader.remaining === 0 ? undefined : reader.readBytes32()));
}

function readVector(element: CqlType, dimensions: number, bytes: Uint8Array): Uint8Array[] {
  const reader = new ByteReader(bytes);
  const isFixed = element.kind === 'native' && FIXED_IN_VECTOR.has(element.name);
  const fixedBytes = bytes.length / dimensions;
  return Array.from({ length: dimensions }, () => (isFixed ? reader.readBytes(fixedBytes) : reader.readBytesV()));
}

const FIXED_IN_VECTOR: ReadonlySet<NativeTypeName> = new Set([
  'boolean',
  'int',
  'float',
  'bigint',
  'double',
  'timestamp',
  'uuid',
  'timeuuid',
]);

function hex(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

function uuidText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** java.net.InetAddress#getHostAddress: IPv6 in eight groups, nothing shortened. */
function inetText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) throw new RangeError(`an address of ${bytes.length} bytes`);
  const reader = new ByteReader(bytes);
  return Array.from({ length: 8 }, () => reader.readUint16().toString(16)).join(':');
}

/** Zigzag vints: months, days, nanoseconds. */
function durationText(reader: ByteReader): string {
  const months = reader.readSignedVint();
  const days = reader.readSignedVint();
  const zigzag = reader.readVint64();
  const nanos = (zigzag >> 1n) ^ -(zigzag & 1n);
  const sign = months < 0 || days < 0 || nanos < 0n ? '-' : '';
  let rest = nanos < 0n ? -nanos : nanos;
  let text = '';
  const append = (amount: number | bigint, unit: string): void => {
    if (amount > 0) text += `${amount}${unit}`;
  };
  append(Math.floor(Math.abs(months) / 12), 'y');
  append(Math.abs(months) % 12, 'mo');
  append(Math.abs(days), 'd');
  for (const [unit, size] of NANO_UNITS) {
    append(rest / size, unit);
    rest %= size;
  }
  return sign + text;
}

const NANO_UNITS: readonly (readonly [string, bigint])[] = [
  ['h', 3_600_000_000_000n],
  ['m', 60_000_000_000n],
  ['s', 1_000_000_000n],
  ['ms', 1_000_000n],
  ['us', 1000n],
  ['ns', 1n],
];
