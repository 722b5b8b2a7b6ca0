import { ProtocolError } from '#core/errors.ts';
import type { CqlType, NativeTypeName, UdtField } from '#core/model/cql-type.ts';
import type { BodyReader } from './body-reader.ts';
import type { BodyWriter } from './body-writer.ts';

/** The [option] of a column type (section 4.2.5.2). */
const NATIVE_IDS: ReadonlyMap<number, NativeTypeName> = new Map([
  [0x0001, 'ascii'],
  [0x0002, 'bigint'],
  [0x0003, 'blob'],
  [0x0004, 'boolean'],
  [0x0005, 'counter'],
  [0x0006, 'decimal'],
  [0x0007, 'double'],
  [0x0008, 'float'],
  [0x0009, 'int'],
  // 0x000a was text in v1; the server says varchar.
  [0x000b, 'timestamp'],
  [0x000c, 'uuid'],
  [0x000d, 'text'],
  [0x000e, 'varint'],
  [0x000f, 'timeuuid'],
  [0x0010, 'inet'],
  [0x0011, 'date'],
  [0x0012, 'time'],
  [0x0013, 'smallint'],
  [0x0014, 'tinyint'],
  [0x0015, 'duration'],
]);
const NATIVE_NAMES: ReadonlyMap<NativeTypeName, number> = new Map([...NATIVE_IDS].map(([id, name]) => [name, id]));

const CUSTOM = 0x0000;
const LIST = 0x0020;
const MAP = 0x0021;
const SET = 0x0022;
const UDT = 0x0030;
const TUPLE = 0x0031;

const MAX_DEPTH = 32;
const MARSHAL = 'org.apache.cassandra.db.marshal.';

/**
 * Reads a type. The protocol does not say whether a collection is frozen, so all come out frozen: `system_schema` knows.
 * @throws ProtocolError
 */
export function readType(reader: BodyReader, depth = 0): CqlType {
  if (depth > MAX_DEPTH) throw new ProtocolError('a type is nested too deeply');
  const id = reader.short();
  const native = NATIVE_IDS.get(id);
  if (native) return { kind: 'native', name: native };
  switch (id) {
    case CUSTOM:
      return customType(reader.string());
    case LIST:
      return { kind: 'list', element: readType(reader, depth + 1), frozen: true };
    case SET:
      return { kind: 'set', element: readType(reader, depth + 1), frozen: true };
    case MAP:
      return { kind: 'map', key: readType(reader, depth + 1), value: readType(reader, depth + 1), frozen: true };
    case UDT: {
      // <ks [string]><udt_name [string]><n [short]><name_1 [string]><type_1 [option]>…
      const keyspace = reader.string();
      const name = reader.string();
      const fields: UdtField[] = [];
      for (let count = reader.short(); count > 0; count--) {
        fields.push({ name: reader.string(), type: readType(reader, depth + 1) });
      }
      return { kind: 'udt', keyspace, name, fields, frozen: true };
    }
    case TUPLE: {
      const elements: CqlType[] = [];
      for (let count = reader.short(); count > 0; count--) elements.push(readType(reader, depth + 1));
      return { kind: 'tuple', elements };
    }
    default:
      throw new ProtocolError(`a column has the unknown type id 0x${id.toString(16)}`);
  }
}

/** Custom types that have a meaning here; any other is passed on as the bytes it is. */
function customType(className: string): CqlType {
  if (className.endsWith('EmptyType')) return { kind: 'native', name: 'empty' };
  const vector = /VectorType\((.*?)\s*,\s*(\d+)\s*\)$/.exec(className);
  const element = vector && MARSHAL_NATIVES.get(vector[1]!.replace(MARSHAL, ''));
  if (element) return { kind: 'vector', element: { kind: 'native', name: element }, dimensions: Number(vector[2]) };
  return { kind: 'native', name: 'blob' };
}

const MARSHAL_NATIVES: ReadonlyMap<string, NativeTypeName> = new Map([
  ['FloatType', 'float'],
  ['DoubleType', 'double'],
  ['Int32Type', 'int'],
  ['LongType', 'bigint'],
  ['ShortType', 'smallint'],
  ['ByteType', 'tinyint'],
  ['UTF8Type', 'text'],
  ['AsciiType', 'ascii'],
  ['UUIDType', 'uuid'],
  ['TimeUUIDType', 'timeuuid'],
  ['TimestampType', 'timestamp'],
  ['BooleanType', 'boolean'],
]);

export function writeType(writer: BodyWriter, type: CqlType): void {
  switch (type.kind) {
    case 'native': {
      const id = NATIVE_NAMES.get(type.name);
      if (id === undefined) writer.short(CUSTOM).string(`${MARSHAL}EmptyType`);
      else writer.short(id);
      return;
    }
    case 'list':
    case 'set':
      writer.short(type.kind === 'list' ? LIST : SET);
      writeType(writer, type.element);
      return;
    case 'map':
      writer.short(MAP);
      writeType(writer, type.key);
      writeType(writer, type.value);
      return;
    case 'tuple':
      writer.short(TUPLE).short(type.elements.length);
      for (const element of type.elements) writeType(writer, element);
      return;
    case 'udt':
      writer.short(UDT).string(type.keyspace).string(type.name).short(type.fields.length);
      for (const field of type.fields) {
        writer.string(field.name);
        writeType(writer, field.type);
      }
      return;
    case 'vector': {
      const element = type.element.kind === 'native' ? type.element.name : undefined;
      const name = [...MARSHAL_NATIVES].find(([, native]) => native === element)?.[0] ?? 'BytesType';
      writer.short(CUSTOM).string(`${MARSHAL}VectorType(${MARSHAL}${name}, ${type.dimensions})`);
      return;
    }
  }
}
