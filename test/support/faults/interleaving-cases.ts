/** What the interleaving bed steps: live operations and load steps in every order, on partitions of their own. */
import type { Random } from '../../integration/support/random.ts';
import { type ShapeName, shapes } from './interleaving-operations.ts';

export interface InterleavedCase {
  /** SHAPE/ORDER/KIND,KIND,…, so that whoever finds it knows what became of it. */
  readonly pk: string;
  /** Kinds, in the order of the application. */
  readonly operations: readonly string[];
}

/** Cases of one shape that share an order have a table: what a load step takes is a table. */
export interface InterleavedTable {
  readonly shape: ShapeName;
  /** One letter a slot: `o` a live operation, `s` the snapshot, `l` a load of it. */
  readonly order: string;
  readonly cases: readonly InterleavedCase[];
}

const shapeNames = Object.keys(shapes) as ShapeName[];
const kindsOf = (shape: ShapeName): readonly string[] => Object.keys(shapes[shape].kinds);
const isLive = (slot: string): boolean => slot === 'o';

/** Orders of three operations with snapshot, load and a second load: all 20. */
function allOrders(): readonly string[] {
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

function tableOf(shape: ShapeName, order: string, triples: readonly (readonly string[])[]): InterleavedTable {
  const cases = triples.map((triple) => ({ pk: `${shape}/${order}/${triple.join(',')}`, operations: triple }));
  return { shape, order, cases };
}

/** Every order with every triple of operations. */
export function exhaustiveTables(): readonly InterleavedTable[] {
  return shapeNames.flatMap((shape) => {
    const kinds = kindsOf(shape);
    const triples = kinds.flatMap((a) => kinds.flatMap((b) => kinds.map((c) => [a, b, c])));
    return allOrders().map((order) => tableOf(shape, order, triples));
  });
}

/** In a bounded run: of how many parts each order of the plain shape takes one, and how many orders the others are stepped in. */
const PARTS = 6;
const ORDERS_OF_OTHERS = 4;

/**
 * So many triples that any two kinds come one after the other, at once and with one between: a Latin square of kinds, of
 * which `random` chooses one for each order. Of the plain shape all orders, and any six of them in a row meet every pair;
 * of the others some orders, each of which meets every pair.
 */
export function pairwiseTables(random: Random): readonly InterleavedTable[] {
  return shapeNames.flatMap((shape) => {
    const orders = shape === 'plain' ? allOrders() : random.some(allOrders(), ORDERS_OF_OTHERS);
    return orders.map((order, at) => {
      const [first, second, third] = [0, 1, 2].map(() => random.shuffle(kindsOf(shape))) as [
        string[],
        string[],
        string[],
      ];
      // Without the shuffles, so that the parts of several orders are parts of one whole.
      const part = (a: string, b: string) => (kindsOf(shape).indexOf(a) + kindsOf(shape).indexOf(b) + at) % PARTS;
      const triples = first
        .flatMap((a, row) => second.map((b, column) => [a, b, third[(row + column) % third.length]!] as const))
        .filter(([a, b]) => shape !== 'plain' || part(a, b) === 0);
      return tableOf(shape, order, triples);
    });
  });
}

/** Longer ones: four to ten operations, a snapshot and one to four loads of it. */
export function randomTables(random: Random, tableCount: number, casesEach: number): readonly InterleavedTable[] {
  const orders = new Set<string>();
  while (orders.size < tableCount) {
    const live = 4 + random.below(7);
    const steps = 1 + random.below(4);
    const slots = random.shuffle([...'o'.repeat(live), ...'l'.repeat(1 + steps)]);
    // The snapshot comes before the loads of it.
    slots[slots.indexOf('l')] = 's';
    orders.add(slots.join(''));
  }
  return [...orders].map((order, at) => {
    // Two of four are plain ones, which have most kinds.
    const shape = (['plain', 'expiring', 'plain', 'counters'] as const)[at % 4]!;
    return {
      shape,
      order,
      cases: Array.from({ length: casesEach }, (_, index) => {
        const chosen = [...order].filter(isLive).map(() => random.pick(kindsOf(shape)));
        return { pk: `${shape}/${order}/${chosen.join(',')}/${index}`, operations: chosen };
      }),
    };
  });
}

/** The case that a report names: SHAPE/ORDER/KIND,KIND,… @throws when it is none */
export function caseNamed(name: string): InterleavedTable {
  const [shape = '', order = '', list = ''] = name.split('/');
  const chosen = list.split(',');
  const found = shapeNames.find((each) => each === shape);
  const isCase =
    found !== undefined &&
    /^[osl]+$/.test(order) &&
    /^[^l]*s[^s]*l[^s]*$/.test(order) &&
    chosen.every((kind) => kindsOf(found).includes(kind)) &&
    chosen.length === [...order].filter(isLive).length;
  if (isCase) return { shape: found, order, cases: [{ pk: name, operations: chosen }] };
  const kinds = shapeNames.map((each) => `${each}: ${kindsOf(each).join(' ')}`).join('; ');
  throw new Error(`${name} is no case: one is called SHAPE/ORDER/KIND,KIND,… with kinds of its shape (${kinds})`);
}

/** What a frame of a case holds of its name: its shape, its order and its kinds. */
export const CASE_NAME = new RegExp(`(${shapeNames.join('|')})/[osl]{4,}/([a-zA-Z,]+)(?:/\\d+)?`);
