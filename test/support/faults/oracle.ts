/** What the application was told, kept in memory: against it both clusters are held at the end. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, types } from 'cassandra-driver';
import { Random } from '../../integration/support/random.ts';
import { isRetryable } from './retryable.ts';
import { judgeCounter, judgeList, judgeRegister, Register, Tally, type Verdict } from './told.ts';

const KEYS_PER_WRITER = 150;
/** Of a table of which every statement costs more. */
const FEW_PER_WRITER = 10;
/** Between the identifiers of two writers. */
const WRITER_STRIDE = 1_000;
const PACE_MS = 4;
/** After an error, so that a proxy that is away is not asked ten thousand times. */
const PAUSE_MS = 100;
/** Half of the rows that die say so themselves, the others by their table. Seconds, far beyond any run. */
const TTL_SECONDS = 200_000;

type RegisterTable = 'plain' | 'aging' | 'conditional';
type TallyTable = 'lists' | 'counts';

export interface OracleOptions {
  /** Of each application; several may have the same. */
  readonly keyspaces: readonly string[];
  /** Of each application, through its own proxy. */
  readonly apps: readonly Client[];
}

export class Oracle {
  acknowledged = 0;
  unknown = 0;
  reads = 0;
  /** Errors that no application would try again after, and stale reads. */
  readonly faults: string[] = [];
  readonly #tables: Readonly<Record<RegisterTable, Map<number, Register>>> = {
    plain: new Map(),
    aging: new Map(),
    conditional: new Map(),
  };
  readonly #tallies: Readonly<Record<TallyTable, Map<number, Tally>>> = { lists: new Map(), counts: new Map() };
  readonly #options: OracleOptions;
  #isEnding = false;
  #isCounting = true;
  /** Increments under way. */
  readonly #counting = new Set<Promise<unknown>>();
  #next = 0;

  constructor(options: OracleOptions) {
    this.#options = options;
  }

  /** Writes as `writers` applications through their proxies until `end`; each reads its own writes through any of them. */
  async run(writers: number, random: Random): Promise<void> {
    this.#isEnding = false;
    // Each with numbers of its own: which of them is faster changes nothing.
    const own = Array.from({ length: writers }, () => new Random(random.below(1 << 30)));
    await Promise.all(own.map((each, writer) => this.#write(writer, each)));
  }

  end(): void {
    this.#isEnding = true;
  }

  /** While `work` is done nobody counts, as in an application's stop window for its counters. */
  async withoutCounting<T>(work: () => Promise<T>): Promise<T> {
    this.#isCounting = false;
    await Promise.all(this.#counting);
    try {
      return await work();
    } finally {
      this.#isCounting = true;
    }
  }

  /** What a cluster has of what was acknowledged. */
  async judge(name: string, client: Client): Promise<Verdict> {
    const verdict: Verdict = { lost: [], duplicated: [] };
    for (const [table, registers] of Object.entries(this.#tables)) {
      const rows = await this.#readAll(client, table, 'v');
      for (const [id, register] of registers) {
        const found = (rows.get(id) as string | undefined) ?? null;
        judgeRegister(register, found, `${name}: row ${id} of ${table}`, verdict);
      }
    }
    const lists = await this.#readAll(client, 'lists', 'l');
    for (const [id, tally] of this.#tallies.lists) {
      const found = (lists.get(id) as readonly number[] | null | undefined) ?? [];
      judgeList(tally, found, `${name}: list ${id}`, verdict);
    }
    const counts = await this.#readAll(client, 'counts', 'c');
    for (const [id, tally] of this.#tallies.counts) {
      judgeCounter(tally, Number(counts.get(id) ?? 0), `${name}: counter ${id}`, verdict);
    }
    return verdict;
  }

  async #write(writer: number, random: Random): Promise<void> {
    const { apps } = this.#options;
    // One generator of write times for each key: what is ordered for its writer is ordered in the clusters.
    const app = apps[writer % apps.length]!;
    const first = writer * WRITER_STRIDE;
    while (!this.#isEnding) {
      const id = first + random.below(KEYS_PER_WRITER);
      const few = first + random.below(FEW_PER_WRITER);
      const drawn = random.below(100);
      const value = `v${++this.#next}`;
      let isKnown = true;
      if (drawn < 38) isKnown = await this.#set(app, 'plain', [id], value);
      else if (drawn < 48) isKnown = await this.#set(app, 'plain', [id, id + KEYS_PER_WRITER], value);
      else if (drawn < 55) isKnown = await this.#set(app, 'plain', [id], null);
      else if (drawn < 65) isKnown = await this.#set(app, 'aging', [id], value);
      else if (drawn < 70) isKnown = await this.#setIf(app, few, value);
      else if (drawn < 80) isKnown = await this.#append(app, few);
      else if (drawn < 86) isKnown = await this.#count(app, few);
      else isKnown = await this.#read(random.pick(apps), random.below(4) === 0 ? 'aging' : 'plain', id);
      await sleep(isKnown ? PACE_MS : PAUSE_MS);
    }
  }

  /** Writes a value, or deletes the rows; two at once are a logged batch. */
  async #set(app: Client, table: 'plain' | 'aging', ids: readonly number[], value: string | null): Promise<boolean> {
    const registers = ids.map((id) => this.#registerOf(table, id));
    for (const { unknown } of registers) unknown.add(value);
    const name = `${this.#keyspaceOf(ids[0]!)}.${table}`;
    const ttl = table === 'aging' && ids[0]! % 2 === 0 ? ` USING TTL ${TTL_SECONDS}` : '';
    const statements = ids.map((id) =>
      value === null
        ? { query: `DELETE FROM ${name} WHERE id = ?`, params: [id] }
        : { query: `INSERT INTO ${name} (id, v, n) VALUES (?, ?, ?)${ttl}`, params: [id, value, this.#next] },
    );
    const [only, ...others] = statements;
    const isKnown = await this.#try(() =>
      others.length === 0 ? app.execute(only!.query, only!.params) : app.batch(statements),
    );
    if (isKnown) for (const register of registers) register.acknowledge(value);
    return isKnown;
  }

  /** Writes a value if the row has the one that was acknowledged last; the answer says what it has. */
  async #setIf(app: Client, id: number, value: string): Promise<boolean> {
    const register = this.#registerOf('conditional', id);
    const { acknowledged } = register;
    register.unknown.add(value);
    const name = `${this.#keyspaceOf(id)}.conditional`;
    let row: types.Row | undefined;
    const isKnown = await this.#try(async () => {
      const { rows } = await (acknowledged === null
        ? app.execute(`INSERT INTO ${name} (id, v) VALUES (?, ?) IF NOT EXISTS`, [id, value])
        : app.execute(`UPDATE ${name} SET v = ? WHERE id = ? IF v = ?`, [value, id, acknowledged]));
      row = rows[0];
    });
    if (!isKnown) return false;
    const seen = row?.['[applied]'] === true ? value : ((row?.['v'] as string | undefined) ?? null);
    // Whatever was unknown had the same condition, so one of them at the most has been applied.
    if (seen === acknowledged || !register.allows(seen)) {
      this.faults.push(`a conditional write of row ${id} found ${seen}, ${register}`);
    }
    register.acknowledge(seen);
    return true;
  }

  async #append(app: Client, id: number): Promise<boolean> {
    const query = `UPDATE ${this.#keyspaceOf(id)}.lists SET l = l + ? WHERE id = ?`;
    return this.#add('lists', id, (element) => app.execute(query, [[element], id]));
  }

  async #count(app: Client, id: number): Promise<boolean> {
    if (!this.#isCounting) return true;
    const query = `UPDATE ${this.#keyspaceOf(id)}.counts SET c = c + 1 WHERE id = ?`;
    const counting = this.#add('counts', id, () => app.execute(query, [id]));
    this.#counting.add(counting);
    return counting.finally(() => this.#counting.delete(counting));
  }

  async #add(table: TallyTable, id: number, send: (element: number) => Promise<unknown>): Promise<boolean> {
    const tallies = this.#tallies[table];
    const tally = tallies.get(id) ?? new Tally();
    tallies.set(id, tally);
    const element = ++this.#next;
    tally.unknown.add(element);
    const isKnown = await this.#try(() => send(element));
    if (isKnown) tally.acknowledge(element);
    return isKnown;
  }

  async #read(app: Client, table: RegisterTable, id: number): Promise<boolean> {
    const register = this.#registerOf(table, id);
    let seen: string | null;
    try {
      const { rows } = await app.execute(`SELECT v FROM ${this.#keyspaceOf(id)}.${table} WHERE id = ?`, [id]);
      seen = (rows[0]?.['v'] as string | undefined) ?? null;
    } catch (error) {
      this.#note(error);
      return false;
    }
    this.reads++;
    if (!register.allows(seen)) this.faults.push(`a stale read of row ${id} of ${table}: ${seen}, ${register}`);
    return true;
  }

  async #try(work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work();
      this.acknowledged++;
      return true;
    } catch (error) {
      this.unknown++;
      this.#note(error);
      return false;
    }
  }

  #note(error: unknown): void {
    if (isRetryable(error)) return;
    const { name, code, message } = error as { name: string; code?: unknown; message: string };
    this.faults.push(`${name} ${String(code)}: ${message}`);
  }

  #registerOf(table: RegisterTable, id: number): Register {
    const registers = this.#tables[table];
    const register = registers.get(id) ?? new Register();
    registers.set(id, register);
    return register;
  }

  /** Of the application whose row it is. */
  #keyspaceOf(id: number): string {
    const { keyspaces } = this.#options;
    return keyspaces[Math.floor(id / WRITER_STRIDE) % keyspaces.length]!;
  }

  async #readAll(client: Client, table: string, column: string): Promise<Map<number, unknown>> {
    const found = new Map<number, unknown>();
    for (const keyspace of new Set(this.#options.keyspaces)) {
      const query = `SELECT id, ${column} FROM ${keyspace}.${table}`;
      const { rows } = await client.execute(query, [], { prepare: true, fetchSize: 10_000 });
      for (const row of rows) found.set(row['id'] as number, row[column] as unknown);
    }
    return found;
  }
}
