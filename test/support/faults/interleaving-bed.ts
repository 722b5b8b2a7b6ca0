/**
 * Steps many cases together, slot by slot: a live operation of every case whose slot is live, one snapshot of all tables
 * whose slot takes it, a load of all whose slot loads. Then both clusters are brought together as a migration does.
 */
import { type Client, errors, types } from 'cassandra-driver';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { convergeLocally } from '../../../cli/local-counters.ts';
import { validateLocally } from '../../../cli/local-validation.ts';
import { inLanes } from './in-lanes.ts';
import type { InterleavedCase, InterleavedTable } from './interleaving-cases.ts';
import { InterleavingCopies } from './interleaving-copies.ts';
import { markedOf, unexplainedMarks } from './interleaving-marks.ts';
import { shapes, TYPE } from './interleaving-operations.ts';
import { InterleavingWorld, SHADOW_TIMEOUT_MS } from './interleaving-world.ts';
import { differingExpiries, differingRows } from './same-partitions.ts';
import { until } from './until.ts';

/** What became of a run. */
export interface InterleavingResult {
  readonly cases: number;
  readonly statements: number;
  /** Cases of which the origin did not answer a write in time: a busy machine. */
  readonly unknown: number;
  /** Copies that were held to the end, or lost, with the request or with its reply. */
  readonly withheld: number;
  readonly loads: number;
  readonly replayed: number;
  readonly marks: number;
  /** One text for each row that differs, with the name of its case. */
  readonly differences: readonly string[];
  /** By what was done; what is done at the same time counts twice. */
  readonly seconds: Readonly<Record<string, number>>;
}

interface PlacedTable extends InterleavedTable {
  /** Tables whose snapshot is taken in the same slot share a keyspace, so that one snapshot takes them all. */
  readonly keyspace: string;
  readonly name: string;
}

export class InterleavingBed {
  readonly #world: InterleavingWorld;
  readonly #seed: number;
  readonly #copies: InterleavingCopies;
  readonly #seconds: Record<string, number> = {};
  #statements = 0;
  /** Their partition keys. */
  readonly #unknown = new Set<string>();
  #loads = 0;
  /** Told each slot of each table; for a case that is stepped alone. */
  onSlot: ((slot: number, rows: Readonly<Record<'origin' | 'target', readonly string[]>>) => void) | undefined;

  private constructor(world: InterleavingWorld, seed: number) {
    this.#world = world;
    this.#seed = seed;
    this.#copies = new InterleavingCopies(seed);
  }

  static async open(java: string, seed: number): Promise<InterleavingBed> {
    return new InterleavingBed(await InterleavingWorld.open(java, `interleavings-${process.pid}-${seed}`), seed);
  }

  close(): Promise<void> {
    return this.#world.close();
  }

  /** Steps all cases and brings both clusters together as a migration does. */
  async run(tables: readonly InterleavedTable[]): Promise<InterleavingResult> {
    const { proxy, app, relay } = this.#world;
    const placed = tables.map((table) => {
      const keyspace = `interleaved_${table.order.indexOf('s') + 1}`;
      return { ...table, keyspace, name: `${table.shape}_${table.order}` };
    });
    const keyspaces = [...new Set(placed.map(({ keyspace }) => keyspace))];
    await this.#timed('create', () => this.#create(placed, keyspaces));
    await proxy.setPhase('dual-async');
    await app.connect();
    relay.fateOf = (frame) => this.#copies.fateOf(frame);
    const slots = Math.max(...placed.map(({ order }) => order.length));
    for (let slot = 0; slot < slots; slot++) {
      const inSlot = (kind: string) => placed.filter(({ order }) => order[slot] === kind);
      await Promise.all([
        this.#timed('operate', () => this.#operate(inSlot('o'), slot)),
        this.#timed('snapshot', () => this.#snapshot(inSlot('s'))),
        this.#timed('load', () => this.#load(inSlot('l'), slot)),
      ]);
      await this.#timed('copies', () => this.#copied());
      await this.#tell(placed, slot);
    }
    const replayed = await this.#timed('settle', () => this.#settle());
    const marks = await this.#marks(keyspaces);
    const differences = unexplainedMarks(placed, marks, this.#unknown);
    // Before anything is repaired: what is marked may live longer, and counters differ.
    const others = placed.filter(({ shape }) => shape !== 'counters');
    const excused = markedOf(this.#unknown, marks);
    const mayNotDiffer = (row: string) => !excused.has(/"pk": "([^"]*)"/.exec(row)?.[1] ?? '');
    const before = () => this.#compare(others, (...each) => differingRows(...each, mayNotDiffer));
    differences.push(...(await this.#timed('compare', before)));
    await this.#timed('repair', () => this.#repair(placed, marks));
    differences.push(
      ...(await this.#timed('compare', () => this.#compare(placed, differingExpiries))),
      ...(await this.#timed('validate', () => this.#validate(keyspaces))),
    );
    const cases = placed.reduce((sum, table) => sum + table.cases.length, 0);
    const counts = {
      statements: this.#statements,
      unknown: this.#unknown.size,
      withheld: this.#copies.withheld,
      loads: this.#loads,
    };
    return { cases, ...counts, replayed, marks: marks.length, differences, seconds: this.#seconds };
  }

  /** The tables on both clusters; on the origin every case has a row of before the dual writes. */
  async #create(tables: readonly PlacedTable[], keyspaces: readonly string[]): Promise<void> {
    for (const keyspace of keyspaces) {
      const own = tables.filter((table) => table.keyspace === keyspace);
      await this.#world.create(keyspace, [
        `CREATE TYPE ${keyspace}.${TYPE}`,
        ...own.map(({ shape, name }) => {
          const { columns, options } = shapes[shape];
          return `CREATE TABLE ${keyspace}.${name} (${columns}) ${options}`;
        }),
      ]);
    }
    const all = tables.flatMap((table) => table.cases.map(({ pk }) => ({ table, pk })));
    await inLanes(all, ({ table: { keyspace, name, shape }, pk }) =>
      this.#world.origin.execute(shapes[shape].before(`${keyspace}.${name}`), [pk], { prepare: true }),
    );
  }

  async #operate(tables: readonly PlacedTable[], slot: number): Promise<void> {
    const all = tables.flatMap((table) => table.cases.map((each) => ({ table, each })));
    await inLanes(all, async ({ table, each }) => {
      const n = [...table.order.slice(0, slot)].filter((kind) => kind === 'o').length;
      this.#copies.begin(each.pk);
      this.#statements++;
      try {
        await this.#execute(table, each, n);
      } catch (error) {
        // Nobody knows whether the origin has it; its place is marked, and may differ until that is repaired.
        if (!isUnknown(error)) throw error;
        this.#unknown.add(each.pk);
      }
    });
  }

  async #execute(table: PlacedTable, { pk, operations }: InterleavedCase, n: number): Promise<void> {
    const operation = shapes[table.shape].kinds[operations[n]!]!;
    const statements = operation(`${table.keyspace}.${table.name}`, pk, n + 1);
    const [only, ...others] = statements;
    if (others.length === 0) await this.#world.app.execute(only!.text, [...only!.values]);
    else {
      const batch = statements.map(({ text, values }) => ({ query: text, params: [...values] }));
      await this.#world.app.batch(batch, { counter: table.shape === 'counters' });
    }
  }

  async #snapshot(tables: readonly PlacedTable[]): Promise<void> {
    const keyspace = tables[0]?.keyspace;
    if (keyspace !== undefined) await this.#world.snapshot(keyspace);
  }

  /** A keyspace has one load at a time; counters are loaded apart, while nobody writes them, and wait for seconds by themselves. */
  async #load(tables: readonly PlacedTable[], slot: number): Promise<void> {
    const loads = [...Map.groupBy(tables, ({ keyspace }) => keyspace)].map(async ([keyspace, own]) => {
      for (const counters of [false, true]) {
        const names = own.filter(({ shape }) => (shape === 'counters') === counters).map(({ name }) => name);
        if (names.length === 0) continue;
        const runId = `${counters ? 'counters-' : ''}${keyspace}-in-slot-${slot + 1}`;
        await this.#world.load(runId, keyspace, names, counters ? { counters, countersQuiesced: true } : {});
        this.#loads++;
      }
    });
    await Promise.all(loads);
  }

  /** Resolves when the copies that nobody withholds have arrived. */
  async #copied(): Promise<void> {
    await until(
      'the copies arrive',
      async () => (await this.#world.shadowInFlight) <= this.#copies.awaited(SHADOW_TIMEOUT_MS),
    );
  }

  /** Failed copies are applied twice and in reverse; what was held arrives before, between or after. Resolves to how many. */
  async #settle(): Promise<number> {
    const { proxy, queue, relay } = this.#world;
    await until('the failed copies are in the queue', async () => {
      const { failedWrites } = await proxy.get<{
        failedWrites: { journalMessages: number; suspectMarksWaiting: number };
      }>('/status');
      const { journalMessages, suspectMarksWaiting } = failedWrites;
      return (await this.#world.shadowInFlight) + journalMessages + suspectMarksWaiting === 0;
    });
    const backlog = (await queue.takeAll()).reverse();
    const release = this.#seed % 3;
    for (const pass of [0, 1]) {
      if (release === pass) relay.release();
      const { dead } = await this.#world.replay(backlog);
      if (dead > 0) throw new Error(`${dead} of ${backlog.length} messages are dead`);
    }
    relay.release();
    return backlog.length;
  }

  async #marks(keyspaces: readonly string[]): Promise<readonly SuspectRecord[]> {
    const { ledger } = await this.#world.runs();
    return (await ledger.listSuspects()).filter(({ keyspace }) => keyspaces.includes(keyspace));
  }

  /** What an operator does when nobody writes any more: marked places are looked at, counters brought together. */
  async #repair(tables: readonly PlacedTable[], marks: readonly SuspectRecord[]): Promise<void> {
    for (const [keyspace, own] of Map.groupBy(tables, (table) => table.keyspace)) {
      const context = await this.#world.runs();
      const marked = new Set(marks.filter((mark) => mark.keyspace === keyspace).map(({ table }) => table));
      const others = own.filter(({ shape, name }) => shape !== 'counters' && marked.has(name));
      if (others.length > 0) {
        const input = { keyspace, tables: others.map(({ name }) => name), suspects: true, reconcile: true };
        await validateLocally(`suspects-${keyspace}`, input, context);
      }
      if (own.some(({ shape }) => shape === 'counters'))
        await convergeLocally({ keyspace, tables: undefined }, context);
    }
  }

  async #compare(
    tables: readonly PlacedTable[],
    differing: (origin: Client, target: Client, table: string) => Promise<readonly string[]>,
  ): Promise<string[]> {
    const { origin, target } = this.#world;
    const differences: string[] = [];
    for (const { keyspace, name } of tables) {
      differences.push(...(await differing(origin, target, `${keyspace}.${name}`)));
    }
    return differences;
  }

  /** The product's own opinion. */
  async #validate(keyspaces: readonly string[]): Promise<string[]> {
    const found: string[] = [];
    for (const keyspace of keyspaces) {
      const summary = await validateLocally(`validation-${keyspace}`, { keyspace }, await this.#world.runs());
      if (summary.status !== 'done') found.push(`validate of ${keyspace} says: ${JSON.stringify(summary)}`);
    }
    return found;
  }

  async #tell(tables: readonly PlacedTable[], slot: number): Promise<void> {
    if (this.onSlot === undefined) return;
    for (const { keyspace, name } of tables) {
      const read = async (client: Client) =>
        (await client.execute(`SELECT JSON * FROM ${keyspace}.${name}`)).rows.map((row) => String(row.values()[0]));
      this.onSlot(slot, { origin: await read(this.#world.origin), target: await read(this.#world.target) });
    }
  }

  async #timed<T>(what: string, work: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work();
    } finally {
      this.#seconds[what] = (this.#seconds[what] ?? 0) + (performance.now() - started) / 1000;
    }
  }
}

/** A conditional write says so by its own code in protocol v5. */
const CAS_WRITE_UNKNOWN = 0x1700;

function isUnknown(error: unknown): boolean {
  const codes: readonly number[] = [types.responseErrorCodes.writeTimeout, CAS_WRITE_UNKNOWN];
  return error instanceof errors.ResponseError && codes.includes(error.code);
}
