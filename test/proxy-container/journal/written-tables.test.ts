import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WrittenTables } from '../../../proxy-container/src/journal/written-tables.ts';

const warnings: unknown[] = [];
const logger = { debug() {}, info() {}, warn: (_: string, fields?: object) => warnings.push(fields), error() {} };
const orders = { keyspace: 'shop', table: 'orders' };
const items = { keyspace: 'shop', table: 'items' };
let asked: number;
let tables: WrittenTables;

beforeEach(() => {
  vi.useFakeTimers();
  warnings.length = 0;
  asked = 0;
  tables = new WrittenTables({ onNew: () => asked++, logger });
});
afterEach(() => vi.useRealTimers());

/** As a session does it; what ran is in `order`. */
function write(names: readonly (typeof orders)[], order: string[], name: string): void {
  if (tables.mayWrite(names)) order.push(name);
  else expect(tables.hold({ byteCount: 1, run: () => write(names, order, name) })).toBe(true);
}

describe('the tables that an instance writes whose disk ends with it', () => {
  it('are in the ledger before the first write to each leaves, and keep no later one', () => {
    const order: string[] = [];
    write([orders], order, 'first');
    write([orders], order, 'second');
    expect([order, asked, tables.names]).toEqual([[], 1, ['shop.orders']]);
    // A heartbeat that was under way before knows nothing of it.
    tables.told([]);
    expect(order).toEqual([]);
    write([orders, items], order, 'both');
    tables.told(['shop.orders']);
    expect(order).toEqual(['first', 'second']);
    tables.told(tables.names);
    write([items], order, 'last');
    expect([order, asked]).toEqual([['first', 'second', 'both', 'last'], 2]);
  });

  it('hold nobody up for longer than a second while the ledger is away, and no table twice', async () => {
    const order: string[] = [];
    write([orders], order, 'first');
    await vi.advanceTimersByTimeAsync(999);
    expect(order).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(warnings).toEqual([{ tables: ['shop.orders'] }]);
    write([orders], order, 'second');
    expect(order).toEqual(['first', 'second']);
    expect(tables.names).toEqual(['shop.orders']);
    // Hundreds of tables are not hundreds of seconds.
    write([items], order, 'third');
    expect(order).toEqual(['first', 'second', 'third']);
    expect(warnings).toEqual([{ tables: ['shop.orders'] }, { tables: ['shop.items'] }]);
    expect([asked, tables.names]).toEqual([2, ['shop.orders', 'shop.items']]);
    tables.told(tables.names);
    await vi.advanceTimersByTimeAsync(5000);
    expect(warnings).toHaveLength(2);
    write([{ keyspace: 'shop', table: 'later' }], order, 'waits again');
    expect(order).toHaveLength(3);
  });

  it('are any when there are more than can be told', () => {
    for (let table = 0; table < 1001; table++) tables.mayWrite([{ keyspace: 'shop', table: `t${table}` }]);
    expect(tables.names).toEqual(['*']);
    tables.told(tables.names);
    expect(tables.mayWrite([orders])).toBe(true);
  });

  it('are any as well where a batch goes beyond that while the ledger is away, and nobody waits for ever', async () => {
    for (let table = 0; table < 999; table++) tables.mayWrite([{ keyspace: 'shop', table: `t${table}` }]);
    const order: string[] = [];
    write([orders, items], order, 'batch');
    expect(tables.names).toEqual(['*']);
    await vi.advanceTimersByTimeAsync(1000);
    write([{ keyspace: 'shop', table: 'more' }], order, 'more');
    expect(order).toEqual(['batch', 'more']);
  });

  it('are none that a cluster would refuse: a mark could not be written by such a name', () => {
    for (const table of ['a/../b', '*', '', 'x'.repeat(223)])
      expect(tables.mayWrite([{ keyspace: 'shop', table }])).toBe(true);
    expect(tables.mayWrite([{ keyspace: '../shop', table: 'orders' }])).toBe(true);
    expect(tables.names).toEqual([]);
  });

  it('are those of the process before as well, whose debts this one has', () => {
    tables.inherit(['shop.orders']);
    expect(tables.names).toEqual(['shop.orders']);
  });

  it('are forgotten by a request whose client has gone', () => {
    const run = vi.fn();
    const request = { byteCount: 1, run };
    tables.mayWrite([orders]);
    tables.hold(request);
    tables.drop(request);
    tables.told(tables.names);
    expect(run).not.toHaveBeenCalled();
  });
});
