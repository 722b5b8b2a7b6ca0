import type { Random } from './random.ts';
import {
  collectionOf,
  frozen,
  isOrdered,
  nativeTypes,
  type RandomType,
  type RandomUserType,
  tupleOf,
  userType,
  vectorOf,
} from './random-types.ts';

export interface RandomColumn {
  /** As CQL writes it: quoted when it must be. */
  readonly name: string;
  readonly type: RandomType;
}

export interface RandomTable {
  /** With the keyspace. */
  readonly name: string;
  readonly partitionKey: readonly RandomColumn[];
  readonly clustering: readonly RandomColumn[];
  readonly statics: readonly RandomColumn[];
  readonly regulars: readonly RandomColumn[];
  readonly create: string;
}

export interface RandomSchema {
  readonly keyspace: string;
  readonly tables: readonly RandomTable[];
  /** CREATE TYPE and CREATE TABLE, in order. */
  readonly statements: readonly string[];
}

/** Shapes that every schema has; what their columns are is random. */
const SHAPES = [
  { partitionKey: 1, clustering: 0, statics: 0, ttl: true },
  { partitionKey: 2, clustering: 1, statics: 2, ttl: false },
  { partitionKey: 1, clustering: 2, statics: 1, ttl: false },
  { partitionKey: 3, clustering: 3, statics: 0, ttl: false },
  { partitionKey: 1, clustering: 2, statics: 2, ttl: true },
];

/** @param vectors whether the server knows the type vector */
export function randomSchema(random: Random, keyspace: string, vectors: boolean): RandomSchema {
  const types = new TypeSource(random, keyspace, vectors);
  const tables = SHAPES.map((shape, index) => randomTable(random, types, `${keyspace}.t${index}`, shape));
  return {
    keyspace,
    tables,
    statements: [...types.userTypes.map(({ create }) => create), ...tables.map(({ create }) => create)],
  };
}

/** Hands out every native type before any comes again. */
class TypeSource {
  readonly userTypes: readonly RandomUserType[];
  readonly #random: Random;
  readonly #vectors: boolean;
  #natives: RandomType[] = [];

  constructor(random: Random, keyspace: string, vectors: boolean) {
    this.#random = random;
    this.#vectors = vectors;
    const flat = userType(keyspace, 'flat', [this.native(), this.native(), this.native()]);
    const nested = userType(keyspace, 'nested', [
      flat.frozen,
      frozen(this.collection(['set', 'list', 'map'])),
      this.native(),
    ]);
    this.userTypes = [flat, nested];
  }

  native(): RandomType {
    if (this.#natives.length === 0) this.#natives = this.#random.shuffle(nativeTypes);
    return this.#natives.pop()!;
  }

  collection(kinds: readonly ('set' | 'list' | 'map')[]): RandomType {
    return collectionOf(this.#random, () => this.native(), this.#random.pick(kinds));
  }

  /** Of one cell. */
  simple(): RandomType {
    const random = this.#random;
    switch (random.below(this.#vectors ? 10 : 9)) {
      case 0:
        return frozen(this.collection(['set', 'list', 'map']));
      case 1:
        return frozen(collectionOf(random, () => frozen(this.collection(['set', 'list', 'map'])), 'map'));
      case 2:
        return tupleOf([this.native(), this.native(), this.native()]);
      case 3:
        return random.pick(this.userTypes).frozen;
      case 9:
        return vectorOf(random.pick(nativeTypes.filter(({ cql }) => ['float', 'int', 'text'].includes(cql))), 3);
      default:
        return this.native();
    }
  }

  key(): RandomType {
    for (;;) {
      // Of what has an order, mostly natives: they alone can be cut by ranges.
      const type = this.#random.chance(75) ? this.native() : this.simple();
      const names = this.userTypes.some(({ create }) => create.includes('duration')) ? ['flat', 'nested'] : [];
      if (isOrdered(type) && !names.some((name) => type.cql.includes(`.${name}>`))) return type;
    }
  }

  multiCell(): RandomType {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        return random.pick(this.userTypes).type;
      case 1:
        return collectionOf(random, () => frozen(this.collection(['set', 'list', 'map'])), 'map');
      case 2:
        return this.collection(['list']);
      default:
        return this.collection(['set', 'map']);
    }
  }

  any(): RandomType {
    return this.#random.chance(45) ? this.multiCell() : this.simple();
  }
}

function randomTable(random: Random, types: TypeSource, name: string, shape: (typeof SHAPES)[number]): RandomTable {
  const columns = (count: number, prefix: string, next: () => RandomType): RandomColumn[] =>
    Array.from({ length: count }, (_, index) => ({
      name: random.chance(15) ? `"${prefix.toUpperCase()} ${index}"` : `${prefix}${index}`,
      type: next(),
    }));
  const partitionKey = columns(shape.partitionKey, 'p', () => types.key());
  const clustering = columns(shape.clustering, 'c', () => types.key());
  const statics = columns(shape.statics, 's', () => types.any());
  const regulars = columns(3 + random.below(4), 'r', () => types.any());
  const definitions = [
    ...partitionKey.map((column) => `${column.name} ${column.type.cql}`),
    ...clustering.map((column) => `${column.name} ${column.type.cql}`),
    ...statics.map((column) => `${column.name} ${column.type.cql} static`),
    ...regulars.map((column) => `${column.name} ${column.type.cql}`),
  ];
  const key = [`(${namesOf(partitionKey)})`, ...clustering.map((column) => column.name)].join(', ');
  const options = [
    ...(clustering.length === 0
      ? []
      : [
          `CLUSTERING ORDER BY (${clustering.map((column) => `${column.name} ${random.pick(['ASC', 'DESC'])}`).join(', ')})`,
        ]),
    `default_time_to_live = ${shape.ttl ? 864_000 : 0}`,
    `gc_grace_seconds = 8640000`,
    `compression = {'class': '${random.pick(['LZ4Compressor', 'SnappyCompressor', 'ZstdCompressor', 'DeflateCompressor'])}', 'chunk_length_in_kb': ${random.pick([4, 16])}}`,
    // Only the test compacts, when it wants to.
    `compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}`,
  ];
  const create = `CREATE TABLE ${name} (${definitions.join(', ')}, PRIMARY KEY (${key})) WITH ${options.join(' AND ')}`;
  return { name, partitionKey, clustering, statics, regulars, create };
}

function namesOf(columns: readonly RandomColumn[]): string {
  return columns.map(({ name }) => name).join(', ');
}
