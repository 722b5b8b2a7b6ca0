/** What an application may do to a partition: kinds of live operations, by the shape of the table that they go to. */

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** One live operation on a partition. `n` tells it from the case's others; several statements are a logged batch. */
export type Operation = (table: string, pk: string, n: number) => readonly Statement[];

/** A table as the bed makes it. */
interface Shape {
  readonly columns: string;
  /** Ends in a blank where it says anything. */
  readonly options: string;
  /** Statement of before the dual writes, which takes the partition key alone. */
  readonly before: (table: string) => string;
  readonly kinds: Readonly<Record<string, Operation>>;
}

const where = 'WHERE pk = ? AND ck = 1';
const one = (text: string, ...values: unknown[]): readonly Statement[] => [{ text, values }];

/** A day, and some more for every operation, so that expiries tell them apart. */
const lifetime = (n: number) => 86_400 + 1000 * n;

const common: Readonly<Record<string, Operation>> = {
  insert: (table, pk, n) => one(`INSERT INTO ${table} (pk, ck, v, w) VALUES (?, 1, ?, ?)`, pk, `insert ${n}`, n),
  update: (table, pk, n) => one(`UPDATE ${table} SET v = ? ${where}`, `update ${n}`, pk),
  ttl: (table, pk, n) => one(`UPDATE ${table} USING TTL ${lifetime(n)} SET w = ? ${where}`, n, pk),
  insertTtl: (table, pk, n) =>
    one(`INSERT INTO ${table} (pk, ck, v) VALUES (?, 1, ?) USING TTL ?`, pk, `lives ${n}`, lifetime(n)),
  set: (table, pk, n) => one(`UPDATE ${table} SET tags = tags + ? ${where}`, [`tag ${n}`], pk),
  static: (table, pk, n) => one(`UPDATE ${table} SET s = ? WHERE pk = ?`, `static ${n}`, pk),
  deleteRow: (table, pk) => one(`DELETE FROM ${table} ${where}`, pk),
  lwt: (table, pk, n) =>
    n % 2 === 0
      ? one(`INSERT INTO ${table} (pk, ck, v) VALUES (?, 2, ?) IF NOT EXISTS`, pk, `lwt ${n}`)
      : one(`UPDATE ${table} SET v = ? ${where} IF EXISTS`, `lwt ${n}`, pk),
};

const plain: Shape = {
  columns: `pk text, ck int, s text static, v text, w int, tags set<text>, attrs map<text, int>, l list<int>, u place,
    PRIMARY KEY (pk, ck)`,
  options: '',
  before: (table) =>
    `INSERT INTO ${table} (pk, ck, s, v, w, tags, attrs, l, u)
       VALUES (?, 1, 'before', 'before', 0, {'before'}, {'before': 0}, [0], {street: 'before', number: 0})`,
  kinds: {
    ...common,
    deletePartition: (table, pk) => one(`DELETE FROM ${table} WHERE pk = ?`, pk),
    deleteRange: (table, pk) => one(`DELETE FROM ${table} WHERE pk = ? AND ck >= 1 AND ck < 3`, pk),
    deleteCell: (table, pk) => one(`DELETE v FROM ${table} ${where}`, pk),
    setRemove: (table, pk) => one(`UPDATE ${table} SET tags = tags - ? ${where}`, ['before', 'tag 1'], pk),
    setReplace: (table, pk, n) => one(`UPDATE ${table} SET tags = ? ${where}`, [`only ${n}`], pk),
    map: (table, pk, n) => one(`UPDATE ${table} SET attrs['changed'] = ? ${where}`, n, pk),
    mapRemove: (table, pk) => one(`DELETE attrs['before'] FROM ${table} ${where}`, pk),
    udt: (table, pk, n) => one(`UPDATE ${table} SET u.street = ? ${where}`, `street ${n}`, pk),
    batch: (table, pk, n) => [
      { text: `UPDATE ${table} SET v = ? ${where}`, values: [`batch ${n}`, pk] },
      { text: `INSERT INTO ${table} (pk, ck, v) VALUES (?, 2, ?)`, values: [pk, `batch ${n}`] },
    ],
    lwtBatch: (table, pk, n) => [
      { text: `UPDATE ${table} SET v = ? ${where} IF EXISTS`, values: [`lwt batch ${n}`, pk] },
      { text: `INSERT INTO ${table} (pk, ck, v) VALUES (?, 2, ?)`, values: [pk, `lwt batch ${n}`] },
    ],
    list: (table, pk, n) => one(`UPDATE ${table} SET l = l + ? ${where}`, [n], pk),
  },
};

/** What is written says nothing of its end and has one. */
const expiring: Shape = {
  columns: 'pk text, ck int, s text static, v text, w int, tags set<text>, PRIMARY KEY (pk, ck)',
  options: 'WITH default_time_to_live = 172800 ',
  before: (table) => `INSERT INTO ${table} (pk, ck, s, v, w, tags) VALUES (?, 1, 'before', 'before', 0, {'before'})`,
  kinds: {
    ...common,
    forever: (table, pk, n) => one(`UPDATE ${table} USING TTL 0 SET v = ? ${where}`, `forever ${n}`, pk),
  },
};

const count = (table: string, what: string, by: number, pk: string) =>
  one(`UPDATE ${table} SET ${what} = ${what} + ? ${where}`, by, pk);

/** Loaded when nobody writes, copied once at most, and brought together at the end. */
const counters: Shape = {
  columns: 'pk text, ck int, n counter, m counter, total counter static, PRIMARY KEY (pk, ck)',
  options: '',
  before: (table) => `UPDATE ${table} SET n = n + 100, total = total + 10 WHERE pk = ? AND ck = 1`,
  kinds: {
    up: (table, pk, n) => count(table, 'n', 10 ** n, pk),
    down: (table, pk, n) => count(table, 'n', -(10 ** n), pk),
    other: (table, pk, n) => count(table, 'm', n, pk),
    total: (table, pk, n) => one(`UPDATE ${table} SET total = total + ? WHERE pk = ?`, n, pk),
    counterBatch: (table, pk, n) => [...count(table, 'n', n, pk), ...count(table, 'm', -n, pk)],
  },
};

export const shapes = { plain, expiring, counters } as const;
export type ShapeName = keyof typeof shapes;
/** What a type of `plain` is made of, on both clusters. */
export const TYPE = 'place (street text, number int)';

/** Kinds whose copies tell a server a lifetime, which counts from when they arrive. */
export function tellsLifetime(shape: ShapeName, kind: string): boolean {
  return shape === 'expiring' ? kind !== 'forever' && kind !== 'deleteRow' : kind === 'ttl' || kind === 'insertTtl';
}
