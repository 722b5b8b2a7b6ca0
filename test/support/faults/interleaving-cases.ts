/** What the interleaving bed steps: live operations and load steps in every order, on partitions of their own. */
import type { Random } from '../../integration/support/random.ts';

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** One live operation on a partition. `n` tells it from the case's others; several statements are a logged batch. */
type Operation = (table: string, pk: string, n: number) => readonly Statement[];

const where = 'WHERE pk = ? AND ck = 1';
const one = (text: string, ...values: unknown[]): readonly Statement[] => [{ text, values }];

/** What an application may do to a partition. Counters are not among them: they are loaded when nobody writes. */
export const operations: Readonly<Record<string, Operation>> = {
  insert: (table, pk, n) => one(`INSERT INTO ${table} (pk, ck, v, w) VALUES (?, 1, ?, ?)`, pk, `insert ${n}`, n),
  update: (table, pk, n) => one(`UPDATE ${table} SET v = ? ${where}`, `update ${n}`, pk),
  deleteRow: (table, pk) => one(`DELETE FROM ${table} ${where}`, pk),
  deletePartition: (table, pk) => one(`DELETE FROM ${table} WHERE pk = ?`, pk),
  deleteRange: (table, pk) => one(`DELETE FROM ${table} WHERE pk = ? AND ck >= 1 AND ck < 3`, pk),
  ttl: (table, pk, n) => one(`UPDATE ${table} USING TTL ${86_400 + n} SET w = ? ${where}`, n, pk),
  set: (table, pk, n) => one(`UPDATE ${table} SET tags = tags + ? ${where}`, [`tag ${n}`], pk),
  map: (table, pk, n) => one(`UPDATE ${table} SET attrs['changed'] = ? ${where}`, n, pk),
  static: (table, pk, n) => one(`UPDATE ${table} SET s = ? WHERE pk = ?`, `static ${n}`, pk),
  batch: (table, pk, n) => [
    { text: `UPDATE ${table} SET v = ? ${where}`, values: [`batch ${n}`, pk] },
    { text: `INSERT INTO ${table} (pk, ck, v) VALUES (?, 2, ?)`, values: [pk, `batch ${n}`] },
  ],
  lwt: (table, pk, n) =>
    n % 2 === 0
      ? one(`INSERT INTO ${table} (pk, ck, v) VALUES (?, 2, ?) IF NOT EXISTS`, pk, `lwt ${n}`)
      : one(`UPDATE ${table} SET v = ? ${where} IF EXISTS`, `lwt ${n}`, pk),
  list: (table, pk, n) => one(`UPDATE ${table} SET l = l + ? ${where}`, [n], pk),
};
const kinds = Object.keys(operations);

export interface InterleavedCase {
  readonly pk: string;
  /** Kinds, in the order of the application. */
  readonly operations: readonly string[];
}

/** Cases that share an order have a table: what a load step takes is a table. */
export interface InterleavedTable {
  /** One letter a slot: `o` a live operation, `s` the snapshot, `l` a load of it. */
  readonly order: string;
  readonly cases: readonly InterleavedCase[];
}

/** Orders of three operations with snapshot, load and a second load: all 20. */
export function allOrders(): readonly string[] {
  const orders = (live: number, load: string): string[] => {
    if (live === 0) return [load];
    if (load === '') return ['o'.repeat(live)];
    return [
      ...orders(live - 1, load).map((rest) => `o${rest}`),
      ...orders(live, load.slice(1)).map((rest) => load[0] + rest),
    ];
  };
  return orders(3, 'sll');
}

/** Every order with every triple of operations, or with those of a share of them that `random` chooses. */
export function exhaustiveTables(random: Random, percent: number): readonly InterleavedTable[] {
  const triples = kinds.flatMap((a) => kinds.flatMap((b) => kinds.map((c) => [a, b, c])));
  return allOrders().map((order) => ({
    order,
    cases: triples
      .filter(() => percent >= 100 || random.chance(percent))
      .map((triple) => ({ pk: `${order}/${triple.join(',')}`, operations: triple })),
  }));
}

/** Longer ones: four to ten operations, a snapshot and one to four loads of it. */
export function randomTables(random: Random, tableCount: number, casesEach: number): readonly InterleavedTable[] {
  const orders = new Set<string>();
  while (orders.size < tableCount) {
    const live = 4 + random.below(7);
    const steps = 1 + random.below(4);
    const kindsOfSlots = random.shuffle([...'o'.repeat(live), ...'l'.repeat(1 + steps)]);
    // The snapshot comes before the loads of it.
    kindsOfSlots[kindsOfSlots.indexOf('l')] = 's';
    orders.add(kindsOfSlots.join(''));
  }
  return [...orders].map((order) => ({
    order,
    cases: Array.from({ length: casesEach }, (_, index) => {
      const chosen = [...order].filter((slot) => slot === 'o').map(() => random.pick(kinds));
      return { pk: `${order}/${chosen.join(',')}/${index}`, operations: chosen };
    }),
  }));
}

/** The case that a report names: ORDER/KIND,KIND,… @throws when it is none */
export function caseNamed(name: string): InterleavedTable {
  const [order = '', list = ''] = name.split('/');
  const chosen = list.split(',');
  const isCase =
    /^[osl]+$/.test(order) &&
    /^[^l]*s[^s]*l[^s]*$/.test(order) &&
    chosen.every((kind) => kinds.includes(kind)) &&
    chosen.length === [...order].filter((slot) => slot === 'o').length;
  if (!isCase) throw new Error(`${name} is no case: a case is called ORDER/KIND,KIND,… with kinds of ${kinds}`);
  return { order, cases: [{ pk: name, operations: chosen }] };
}
