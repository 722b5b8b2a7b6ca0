import { SchemaMismatchError } from '../errors.ts';
import type { CqlType, NativeTypeName, UdtField } from './cql-type.ts';

const NATIVE: ReadonlySet<string> = new Set<NativeTypeName>([
  'ascii',
  'bigint',
  'blob',
  'boolean',
  'counter',
  'date',
  'decimal',
  'double',
  'duration',
  'empty',
  'float',
  'inet',
  'int',
  'smallint',
  'text',
  'time',
  'timestamp',
  'timeuuid',
  'tinyint',
  'uuid',
  'varint',
]);

/** Finds a user-defined type's fields; undefined when the keyspace has no such type. */
export type UdtLookup = (name: string) => readonly { readonly name: string; readonly type: string }[] | undefined;

/**
 * Parses a type as `system_schema.columns` writes it: `map<text, frozen<list<int>>>`, `vector<float, 3>`, `"My Type"`.
 * @throws SchemaMismatchError naming the text that is not understood
 */
export function parseCqlType(text: string, keyspace: string, udts: UdtLookup): CqlType {
  const parser = { text, at: 0 };
  const type = parseType(parser, keyspace, udts, false, 0);
  skipSpace(parser);
  if (parser.at !== text.length) throw notUnderstood(text);
  return type;
}

interface Parser {
  readonly text: string;
  at: number;
}

const MAX_DEPTH = 64;

function parseType(parser: Parser, keyspace: string, udts: UdtLookup, frozen: boolean, depth: number): CqlType {
  if (depth > MAX_DEPTH) throw notUnderstood(parser.text);
  const { name, quoted } = readName(parser);
  const nested = (inner: boolean) => parseType(parser, keyspace, udts, inner, depth + 1);
  if (!quoted) {
    if (NATIVE.has(name)) return { kind: 'native', name: name as NativeTypeName };
    if (name === 'varchar') return { kind: 'native', name: 'text' };
    switch (name) {
      case 'frozen':
        return inBrackets(parser, () => nested(true));
      case 'list':
      case 'set': {
        const kind = name;
        return inBrackets(parser, () => ({ kind, element: nested(true), frozen }));
      }
      case 'map':
        return inBrackets(parser, () => {
          const key = nested(true);
          expect(parser, ',');
          return { kind: 'map', key, value: nested(true), frozen };
        });
      case 'tuple':
        return inBrackets(parser, () => {
          const elements = [nested(true)];
          while (peek(parser) === ',') {
            expect(parser, ',');
            elements.push(nested(true));
          }
          return { kind: 'tuple', elements };
        });
      case 'vector':
        return inBrackets(parser, () => {
          const element = nested(true);
          expect(parser, ',');
          const dimensions = Number(readName(parser).name);
          if (!Number.isInteger(dimensions) || dimensions < 1) throw notUnderstood(parser.text);
          return { kind: 'vector', element, dimensions };
        });
    }
  }
  const fields = udts(name);
  if (!fields) throw notUnderstood(parser.text);
  return {
    kind: 'udt',
    keyspace,
    name,
    frozen,
    fields: fields.map(
      (field): UdtField => ({
        name: field.name,
        // A type inside a UDT is frozen with it: a non-frozen UDT can't hold non-frozen ones.
        type: parseType({ text: field.type, at: 0 }, keyspace, udts, true, depth + 1),
      }),
    ),
  };
}

function inBrackets<T>(parser: Parser, body: () => T): T {
  expect(parser, '<');
  const result = body();
  expect(parser, '>');
  return result;
}

function skipSpace(parser: Parser): void {
  while (parser.text[parser.at] === ' ') parser.at++;
}

function peek(parser: Parser): string | undefined {
  skipSpace(parser);
  return parser.text[parser.at];
}

function expect(parser: Parser, character: string): void {
  if (peek(parser) !== character) throw notUnderstood(parser.text);
  parser.at++;
}

function readName(parser: Parser): { name: string; quoted: boolean } {
  skipSpace(parser);
  const match = /^(?:"((?:[^"]|"")+)"|([A-Za-z0-9_]+))/.exec(parser.text.slice(parser.at));
  if (!match) throw notUnderstood(parser.text);
  parser.at += match[0].length;
  return match[1] === undefined
    ? { name: (match[2] ?? '').toLowerCase(), quoted: false }
    : { name: match[1].replaceAll('""', '"'), quoted: true };
}

function notUnderstood(text: string): SchemaMismatchError {
  return new SchemaMismatchError(`the column type ${text} is not understood`, { context: { type: text } });
}
