import { encodeInt, encodeText } from '#core/cql/value-codec.ts';

/** A write, and how long what it leaves lives. */
export interface TtlCase {
  readonly name: string;
  readonly text: string;
  readonly values: readonly Uint8Array[];
  /** Of all that it writes; null where each statement says so itself, or nothing ends. Seconds. */
  readonly lifeSeconds?: number;
}

const int = (value: number) => encodeInt(value);
const text = encodeText('x');
/** Each writes to the row of its number, in `plain` or in `expiring`, whose default is 60 s. @param keyspace of both */
export const ttlCases = (keyspace: string): readonly ((id: number) => TtlCase)[] => [
  (id) => ({
    name: 'a literal TTL',
    text: 'INSERT INTO plain (id, v) VALUES (?, ?) USING TTL 60',
    values: [int(id), text],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: 'a bound TTL',
    text: 'UPDATE plain USING TTL ? SET v = ? WHERE id = ?',
    values: [int(60), text, int(id)],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: "the table's default",
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?)',
    values: [int(id), text],
    lifeSeconds: 60,
  }),
  (id) => ({
    name: 'the default, said by nobody',
    text: 'UPDATE expiring SET v = ? WHERE id = ?',
    values: [text, int(id)],
  }),
  (id) => ({
    name: 'another life than the default',
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL 600',
    values: [int(id), text],
    lifeSeconds: 600,
  }),
  (id) => ({
    name: 'no end, against the default',
    text: 'INSERT INTO expiring (id, v) VALUES (?, ?) USING TTL 0',
    values: [int(id), text],
  }),
  (id) => ({ name: 'no end', text: 'INSERT INTO plain (id, v) VALUES (?, ?)', values: [int(id), text] }),
  (id) => ({
    name: 'a batch of two lives',
    text: `BEGIN BATCH INSERT INTO ${keyspace}.plain (id, v) VALUES (${id}, 'x') USING TTL 60; UPDATE ${keyspace}.expiring SET v = 'x' WHERE id = ${id}; APPLY BATCH`,
    values: [],
  }),
];
