import { SSTableUnsupportedError } from '#core/errors.ts';
import type { CqlType, NativeTypeName } from '#core/model/cql-type.ts';

/** A type of an SSTable header: the CQL type, and what only the storage engine knows of it. */
export interface MarshalType {
  readonly type: CqlType;
  /** A clustering column declared DESC. */
  readonly reversed: boolean;
  /** The components when this is a compound partition key. */
  readonly components?: readonly CqlType[];
}

const NATIVE: Readonly<Record<string, NativeTypeName>> = {
  AsciiType: 'ascii',
  BooleanType: 'boolean',
  ByteType: 'tinyint',
  BytesType: 'blob',
  CounterColumnType: 'counter',
  DateType: 'timestamp',
  DecimalType: 'decimal',
  DoubleType: 'double',
  DurationType: 'duration',
  EmptyType: 'empty',
  FloatType: 'float',
  InetAddressType: 'inet',
  Int32Type: 'int',
  IntegerType: 'varint',
  LexicalUUIDType: 'uuid',
  LongType: 'bigint',
  ShortType: 'smallint',
  SimpleDateType: 'date',
  TimeType: 'time',
  TimeUUIDType: 'timeuuid',
  TimestampType: 'timestamp',
  UTF8Type: 'text',
  UUIDType: 'uuid',
};

const PACKAGE = 'org.apache.cassandra.db.marshal.';
const MAX_DEPTH = 64;
const MAX_TYPE_CHARACTERS = 1 << 20;

interface ClassTerm {
  readonly name: string;
  readonly args: readonly ClassTerm[];
  /** `label:Type` in user types; hexadecimal there. */
  readonly label?: string;
}

/**
 * The type that a class name of an SSTable header means: `Name` or `Name(args)`, nested. A type whose length rule is
 * not known is refused: guessing it would misread everything behind it.
 *
 * @param file for messages
 * @throws SSTableUnsupportedError
 * @see org.apache.cassandra.db.marshal.TypeParser
 */
export function parseMarshalType(text: string, file: string): MarshalType {
  const term = parseTerm(text, file);
  const reversed = term.name === 'ReversedType';
  const inner = reversed ? onlyArgument(term, text, file) : term;
  if (inner.name === 'CompositeType') {
    const components = inner.args.map((each) => toCqlType(each, true, text, file, 0));
    return { type: { kind: 'native', name: 'blob' }, reversed, components };
  }
  return { type: toCqlType(inner, false, text, file, 0), reversed };
}

function toCqlType(term: ClassTerm, frozen: boolean, text: string, file: string, depth: number): CqlType {
  if (depth > MAX_DEPTH) throw unsupported(text, file, 'is nested too deeply');
  const argument = (index: number, isFrozen: boolean): CqlType => {
    const arg = term.args[index];
    if (!arg) throw unsupported(text, file, `lacks an argument of ${term.name}`);
    return toCqlType(arg, isFrozen, text, file, depth + 1);
  };
  const native = term.args.length === 0 ? NATIVE[term.name] : undefined;
  if (native) return { kind: 'native', name: native };
  switch (term.name) {
    case 'FrozenType':
      // Freezing covers everything below; the inner FrozenType is left out there.
      return argument(0, true);
    case 'ReversedType':
      return argument(0, frozen);
    case 'ListType':
      return { kind: 'list', element: argument(0, frozen), frozen };
    case 'SetType':
      return { kind: 'set', element: argument(0, frozen), frozen };
    case 'MapType':
      return { kind: 'map', key: argument(0, frozen), value: argument(1, frozen), frozen };
    case 'TupleType':
      return { kind: 'tuple', elements: term.args.map((_, index) => argument(index, true)) };
    case 'UserType': {
      const [keyspace, name, ...fields] = term.args;
      if (!keyspace || !name) throw unsupported(text, file, 'has a UserType without a name');
      return {
        kind: 'udt',
        keyspace: keyspace.name,
        name: hexText(name.name, text, file),
        fields: fields.map((field) => ({
          name: hexText(field.label ?? '', text, file),
          type: toCqlType(field, frozen, text, file, depth + 1),
        })),
        frozen,
      };
    }
    case 'VectorType': {
      const dimensions = Number(term.args[1]?.name);
      if (!Number.isInteger(dimensions) || dimensions < 1 || dimensions > 8192) {
        throw unsupported(text, file, 'has a vector without a size between 1 and 8192');
      }
      return { kind: 'vector', element: argument(0, true), dimensions };
    }
    default:
      throw unsupported(text, file, `names ${term.name}, which is not known`);
  }
}

function parseTerm(text: string, file: string): ClassTerm {
  let at = 0;
  if (text.length > MAX_TYPE_CHARACTERS) throw unsupported(text.slice(0, 200), file, 'is too long');
  const skipSpaces = (): void => {
    while (text[at] === ' ') at++;
  };
  const word = (): string => {
    skipSpaces();
    const start = at;
    while (at < text.length && /[\w.$+-]/.test(text[at]!)) at++;
    if (at === start) throw unsupported(text, file, `can not be parsed at character ${at}`);
    return text.slice(start, at);
  };
  const term = (depth: number): ClassTerm => {
    if (depth > MAX_DEPTH) throw unsupported(text, file, 'is nested too deeply');
    let name = word();
    let label: string | undefined;
    skipSpaces();
    if (text[at] === ':') {
      at++;
      label = name;
      name = word();
      skipSpaces();
    }
    const args: ClassTerm[] = [];
    if (text[at] === '(') {
      at++;
      skipSpaces();
      while (text[at] !== ')') {
        args.push(term(depth + 1));
        skipSpaces();
        if (text[at] === ',') at++;
        else if (text[at] !== ')') throw unsupported(text, file, `can not be parsed at character ${at}`);
        skipSpaces();
      }
      at++;
    }
    return { name: name.startsWith(PACKAGE) ? name.slice(PACKAGE.length) : name, args, label };
  };
  const parsed = term(0);
  skipSpaces();
  if (at !== text.length) throw unsupported(text, file, `has text behind its end at character ${at}`);
  return parsed;
}

function onlyArgument(term: ClassTerm, text: string, file: string): ClassTerm {
  const [argument] = term.args;
  if (!argument || term.args.length !== 1) throw unsupported(text, file, `has a ${term.name} of several types`);
  return argument;
}

function hexText(hex: string, text: string, file: string): string {
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(hex)) throw unsupported(text, file, 'has a name that is not hexadecimal');
  return Buffer.from(hex, 'hex').toString('utf8');
}

function unsupported(type: string, file: string, why: string): SSTableUnsupportedError {
  return new SSTableUnsupportedError(`${file}: the type ${type} ${why}`, { context: { file, type } });
}
