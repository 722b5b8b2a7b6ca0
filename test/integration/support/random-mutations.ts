import type { Random } from './random.ts';
import type { RandomColumn, RandomTable } from './random-schema.ts';

const PARTITIONS = 4;
const VALUES_PER_CLUSTERING = 3;
const WRITE_TIMES = 10;

/** Random statements over few rows and few write times of one table, so that ties and shadowing happen. */
export class RandomMutations {
  readonly #random: Random;
  readonly #table: RandomTable;
  readonly #baseMicros: bigint;
  readonly #ttls: readonly number[];
  readonly #keys: readonly (readonly string[])[];
  readonly #clusterings: readonly (readonly string[])[];
  readonly #earlier: string[] = [];

  /** @param ttls seconds; 0 is "none", whatever the table's default */
  constructor(random: Random, table: RandomTable, baseMicros: bigint, ttls: readonly number[]) {
    this.#random = random;
    this.#table = table;
    this.#baseMicros = baseMicros;
    this.#ttls = ttls;
    const literal = ({ type }: RandomColumn) => type.literal(random);
    this.#keys = Array.from({ length: PARTITIONS }, () => table.partitionKey.map((column) => notEmpty(column, random)));
    this.#clusterings = table.clustering.map((column) =>
      Array.from({ length: VALUES_PER_CLUSTERING }, () => literal(column)),
    );
  }

  /** Some of them are of before: what a client sent again, to a replica that may have it. */
  next(): string {
    if (this.#earlier.length > 0 && this.#random.chance(15)) return this.#random.pick(this.#earlier);
    const statement = this.#statement();
    this.#earlier.push(statement);
    return statement;
  }

  /** A deletion of each partition, older than everything: it makes Cassandra's compaction look at every row. */
  partitionDeletions(timestampMicros: number): string[] {
    return this.#keys.map((key) => {
      const where = equal(this.#table.partitionKey, key).join(' AND ');
      return `DELETE FROM ${this.#table.name} USING TIMESTAMP ${timestampMicros} WHERE ${where}`;
    });
  }

  #statement(): string {
    const random = this.#random;
    const { statics, clustering } = this.#table;
    const dice = random.below(100);
    if (dice < 35) return this.#insert();
    if (dice < 70) return this.#update(this.#table.regulars, this.#rowOf());
    if (dice < 78) {
      return statics.length > 0 ? this.#update(statics, this.#partition()) : this.#insert();
    }
    if (dice < 84) return this.#deleteColumns(this.#table.regulars, this.#rowOf());
    if (dice < 86 && statics.length > 0) return this.#deleteColumns(statics, this.#partition());
    if (dice < 91) return this.#delete(this.#rowOf());
    if (dice < 99 && clustering.length > 0) return this.#delete([...this.#partition(), ...this.#slice()]);
    return random.chance(50) ? this.#delete(this.#partition()) : this.#insert();
  }

  #partition(): string[] {
    return equal(this.#table.partitionKey, this.#random.pick(this.#keys));
  }

  #rowOf(): string[] {
    const values = this.#clusterings.map((literals) => this.#random.pick(literals));
    return [...this.#partition(), ...equal(this.#table.clustering, values)];
  }

  #timestamp(): string {
    return `TIMESTAMP ${this.#baseMicros + BigInt(this.#random.below(WRITE_TIMES))}`;
  }

  /** Sometimes without a TTL, which takes the table's default. */
  #using(): string {
    const ttl = this.#random.chance(30) ? ` AND TTL ${this.#random.pick(this.#ttls)}` : '';
    return `USING ${this.#timestamp()}${ttl}`;
  }

  #insert(): string {
    const random = this.#random;
    const { name, partitionKey, clustering, statics, regulars } = this.#table;
    const columns = random.some(regulars, random.below(regulars.length + 1));
    if (random.chance(10)) columns.push(...random.some(statics, 1));
    const values = columns.map(({ type }) => (random.chance(8) ? 'null' : type.literal(random)));
    const clusteringValues = this.#clusterings.map((literals) => random.pick(literals));
    const all = [...partitionKey, ...clustering, ...columns].map((column) => column.name).join(', ');
    const literals = [...random.pick(this.#keys), ...clusteringValues, ...values].join(', ');
    return `INSERT INTO ${name} (${all}) VALUES (${literals}) ${this.#using()}`;
  }

  #update(columns: readonly RandomColumn[], where: readonly string[]): string {
    const settings = this.#random.some(columns, 1 + this.#random.below(2)).map((column) => this.#setting(column));
    return `UPDATE ${this.#table.name} ${this.#using()} SET ${settings.join(', ')} WHERE ${where.join(' AND ')}`;
  }

  #setting({ name, type }: RandomColumn): string {
    const random = this.#random;
    const whole = () => type.literal(random);
    if (random.chance(8)) return `${name} = null`;
    const { multiCell } = type;
    if (multiCell === undefined || random.chance(30)) return `${name} = ${whole()}`;
    switch (multiCell.kind) {
      case 'set':
        return `${name} = ${name} ${random.pick(['+', '+', '-'])} {${multiCell.element.literal(random)}}`;
      case 'list':
        return random.pick([
          `${name} = ${name} + ${whole()}`,
          `${name} = ${whole()} + ${name}`,
          `${name} = ${name} - [${multiCell.element.literal(random)}]`,
        ]);
      case 'map': {
        const key = multiCell.key.literal(random);
        const value = random.chance(20) ? 'null' : multiCell.value.literal(random);
        return random.pick([
          `${name}[${key}] = ${value}`,
          `${name} = ${name} + ${whole()}`,
          `${name} = ${name} - {${key}}`,
        ]);
      }
      case 'udt': {
        const [field, fieldType] = random.pick(multiCell.fields);
        return `${name}.${field} = ${random.chance(20) ? 'null' : fieldType.literal(random)}`;
      }
    }
  }

  #deleteColumns(columns: readonly RandomColumn[], where: readonly string[]): string {
    const random = this.#random;
    const parts = random.some(columns, 1 + random.below(2)).map(({ name, type: { multiCell } }) => {
      if (multiCell?.kind === 'map' && random.chance(60)) return `${name}[${multiCell.key.literal(random)}]`;
      if (multiCell?.kind === 'set' && random.chance(60)) return `${name}[${multiCell.element.literal(random)}]`;
      if (multiCell?.kind === 'udt' && random.chance(60)) return `${name}.${random.pick(multiCell.fields)[0]}`;
      return name;
    });
    return `DELETE ${parts.join(', ')} FROM ${this.#table.name} USING ${this.#timestamp()} WHERE ${where.join(' AND ')}`;
  }

  #delete(where: readonly string[]): string {
    return `DELETE FROM ${this.#table.name} USING ${this.#timestamp()} WHERE ${where.join(' AND ')}`;
  }

  /** A prefix, an open or closed slice below it, or a slice of tuples. */
  #slice(): string[] {
    const random = this.#random;
    const { clustering } = this.#table;
    const prefix = random.below(clustering.length);
    const fixed = equal(
      clustering.slice(0, prefix),
      this.#clusterings.slice(0, prefix).map((literals) => random.pick(literals)),
    );
    const rest = clustering.slice(prefix);
    const depth = random.chance(30) ? rest.length : 1;
    const side = (operator: string): string => {
      const values = rest.slice(0, depth).map((_, index) => random.pick(this.#clusterings[prefix + index]!));
      const names = rest.slice(0, depth).map(({ name }) => name);
      return depth === 1
        ? `${names[0]} ${operator} ${values[0]}`
        : `(${names.join(', ')}) ${operator} (${values.join(', ')})`;
    };
    const lower = side(random.pick(['>', '>=']));
    const upper = side(random.pick(['<', '<=']));
    switch (random.below(4)) {
      case 0:
        return [...fixed, lower];
      case 1:
        return [...fixed, upper];
      case 2:
        return fixed.length > 0 ? fixed : [lower];
      default:
        return [...fixed, lower, upper];
    }
  }
}

function equal(columns: readonly RandomColumn[], literals: readonly string[]): string[] {
  return columns.map(({ name }, index) => `${name} = ${literals[index]}`);
}

/** A partition key of one column may not be empty. */
function notEmpty({ type }: RandomColumn, random: Random): string {
  for (;;) {
    const literal = type.literal(random);
    if (literal !== "''" && literal !== '0x') return literal;
  }
}
