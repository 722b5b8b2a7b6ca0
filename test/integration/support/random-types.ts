import type { Random } from './random.ts';

/** A CQL type that can make literals of itself. */
export interface RandomType {
  readonly cql: string;
  readonly literal: (random: Random) => string;
  /** Of a non-frozen collection or user type. */
  readonly multiCell?: MultiCell;
}

/** What UPDATE can do to a part of a column. */
export type MultiCell =
  | { readonly kind: 'set' | 'list'; readonly element: RandomType }
  | { readonly kind: 'map'; readonly key: RandomType; readonly value: RandomType }
  | { readonly kind: 'udt'; readonly fields: readonly (readonly [name: string, type: RandomType])[] };

/** A user type: its name with the keyspace, its definition, and itself as a type of columns. */
export interface RandomUserType {
  readonly create: string;
  readonly type: RandomType;
  readonly frozen: RandomType;
}

/** Few values each, so that mutations meet; no two of a type compare as equal without being the same bytes. */
const LITERALS = {
  ascii: ["'a'", "''", "'~ B'"],
  bigint: ['0', '-1', '9223372036854775807', '-9223372036854775808'],
  blob: ['0x', '0x00', '0xff00aa80'],
  boolean: ['true', 'false'],
  date: ["'2020-02-29'", "'1969-12-31'", "'1583-01-01'"],
  decimal: ['0', '-1.50', '1E+10', '123456789012345678901234567890.125'],
  double: ['0.0', '-0.0', '1.5', 'NaN', '-Infinity', '1e300'],
  duration: ['1mo2d3ns', '-1h', '89h4m48s'],
  float: ['0.0', '-1.25', 'Infinity', '3.4e38'],
  inet: ["'127.0.0.1'", "'::1'", "'2001:db8::ff'"],
  int: ['0', '-1', '2147483647', '7'],
  smallint: ['0', '-32768', '300'],
  text: ["''", "'é☃'", "'it''s \"x\"\n'", "'a'"],
  time: ["'00:00:00'", "'23:59:59.999999999'", "'08:30:00.5'"],
  timestamp: ['0', '1577836800123', '-1'],
  timeuuid: [
    '50554d6e-29bb-11e5-b345-feff819cdc9f',
    'f8a4e3f0-e59a-11f1-b885-e963f1af2f25',
    '00000000-0000-1000-8080-808080808080',
  ],
  tinyint: ['0', '-128', '127'],
  uuid: ['123e4567-e89b-42d3-a456-426614174000', '00000000-0000-0000-0000-000000000000'],
  varint: ['0', '-129', '12345678901234567890123', '255'],
} as const;

/** Every native type but counter. */
export const nativeTypes: readonly RandomType[] = Object.entries(LITERALS).map(([cql, literals]) => ({
  cql,
  literal: (random) => random.pick<string>(literals),
}));

/** Durations have no order: they can't be keys, set elements or map keys. */
export function isOrdered({ cql }: RandomType): boolean {
  return !cql.includes('duration');
}

const many = (random: Random, one: () => string, atLeast = 0): string[] => [
  ...new Set(Array.from({ length: atLeast + random.below(3) }, one)),
];

/** `set<…>`, `list<…>` or `map<…>`, not frozen. */
export function collectionOf(random: Random, next: () => RandomType, kind: 'set' | 'list' | 'map'): RandomType {
  const element = next();
  if (kind === 'list') {
    const literal = (from: Random) => `[${many(from, () => element.literal(from)).join(', ')}]`;
    return { cql: `list<${element.cql}>`, literal, multiCell: { kind, element } };
  }
  const key = orderedType(random, next);
  if (kind === 'set') {
    const literal = (from: Random) => `{${many(from, () => key.literal(from)).join(', ')}}`;
    return { cql: `set<${key.cql}>`, literal, multiCell: { kind, element: key } };
  }
  // An empty one would be an empty set to a server that meets it in another collection.
  const literal = (from: Random) =>
    `{${many(from, () => key.literal(from), 1)
      .map((text) => `${text}: ${element.literal(from)}`)
      .join(', ')}}`;
  return { cql: `map<${key.cql}, ${element.cql}>`, literal, multiCell: { kind, key, value: element } };
}

function orderedType(random: Random, next: () => RandomType): RandomType {
  const type = next();
  return isOrdered(type) ? type : random.pick(nativeTypes.filter(isOrdered));
}

export function tupleOf(elements: readonly RandomType[]): RandomType {
  return {
    cql: `frozen<tuple<${elements.map(({ cql }) => cql).join(', ')}>>`,
    literal: (random) =>
      `(${elements.map((element) => (random.chance(20) ? 'null' : element.literal(random))).join(', ')})`,
  };
}

/** Cassandra 5.0 and later. */
export function vectorOf(element: RandomType, dimensions: number): RandomType {
  return {
    cql: `vector<${element.cql}, ${dimensions}>`,
    literal: (random) => `[${Array.from({ length: dimensions }, () => element.literal(random)).join(', ')}]`,
  };
}

export function userType(keyspace: string, name: string, fields: readonly RandomType[]): RandomUserType {
  const named = fields.map((type, index) => [`f${index}`, type] as const);
  const full = `${keyspace}.${name}`;
  // Left out and null are one to Cassandra; trailing fields that are left out were perhaps added later.
  const literal = (random: Random) =>
    `{${named
      .filter(() => !random.chance(20))
      .map(([field, type]) => `${field}: ${random.chance(15) ? 'null' : type.literal(random)}`)
      .join(', ')}}`;
  // {} would be an empty map.
  const filled = (random: Random) => {
    const text = literal(random);
    return text === '{}' ? `{f0: ${fields[0]!.literal(random)}}` : text;
  };
  return {
    create: `CREATE TYPE ${full} (${named.map(([field, type]) => `${field} ${type.cql}`).join(', ')})`,
    type: { cql: full, literal: filled, multiCell: { kind: 'udt', fields: named } },
    frozen: { cql: `frozen<${full}>`, literal: filled },
  };
}

export function frozen({ cql, literal }: RandomType): RandomType {
  return { cql: cql.startsWith('frozen<') ? cql : `frozen<${cql}>`, literal };
}
