/** What the application was told, kept in memory: against it both clusters are held at the end. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import type { Random } from '../../integration/support/random.ts';

const KEYS_PER_WRITER = 150;
const LISTS_PER_WRITER = 10;
const COUNTS_PER_WRITER = 10;
const PACE_MS = 4;
/** After an error, so that a proxy that is away is not asked ten thousand times. */
const PAUSE_MS = 100;

/** Server errors after which an application may try again; their codes are those of the native protocol. */
const RETRYABLE_CODES: ReadonlySet<number> = new Set([0x0000, 0x1000, 0x1001, 0x1002, 0x1100, 0x1200, 0x1300, 0x1500]);
const RETRYABLE_ERRORS: ReadonlySet<string> = new Set(['NoHostAvailableError', 'OperationTimedOutError']);

/** A value that only one writer changes: what was acknowledged last, and what may have happened since. */
interface Register {
  acknowledged: string | null;
  readonly unknown: Set<string | null>;
}

interface Tally {
  readonly acknowledged: Set<number>;
  readonly unknown: Set<number>;
}

export interface Verdict {
  /** Acknowledged, and not on the cluster. */
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
}

export class Oracle {
  acknowledged = 0;
  unknown = 0;
  reads = 0;
  /** Errors that no application would try again after, and stale reads. */
  readonly faults: string[] = [];
  readonly #registers = new Map<number, Register>();
  readonly #lists = new Map<number, Tally>();
  readonly #counts = new Map<number, Tally>();
  readonly #keyspace: string;
  #isEnding = false;
  #next = 0;

  constructor(keyspace: string) {
    this.#keyspace = keyspace;
  }

  /** Writes as `writers` applications through their proxies until `end`; each reads its own writes through any of them. */
  async run(apps: readonly Client[], writers: number, random: Random): Promise<void> {
    await Promise.all(Array.from({ length: writers }, (_, index) => this.#write(index, apps, random)));
  }

  end(): void {
    this.#isEnding = true;
  }

  /** What a cluster has of what was acknowledged. */
  async judge(name: string, client: Client): Promise<Verdict> {
    const lost: string[] = [];
    const duplicated: string[] = [];
    const plain = await readAll(client, `${this.#keyspace}.plain`, 'v');
    for (const [id, { acknowledged, unknown }] of this.#registers) {
      const found = (plain.get(id) as string | undefined) ?? null;
      if (found === acknowledged || unknown.has(found)) continue;
      lost.push(`${name}: row ${id} is ${found}, acknowledged was ${acknowledged}, unknown are ${[...unknown]}`);
    }
    const lists = await readAll(client, `${this.#keyspace}.lists`, 'l');
    for (const [id, { acknowledged, unknown }] of this.#lists) {
      const found = (lists.get(id) as readonly number[] | null | undefined) ?? [];
      const distinct = new Set(found);
      const missing = [...acknowledged].filter((element) => !distinct.has(element));
      const strange = [...distinct].filter((element) => !acknowledged.has(element) && !unknown.has(element));
      if (missing.length + strange.length > 0) lost.push(`${name}: list ${id} lacks ${missing}, has ${strange}`);
      if (distinct.size < found.length) duplicated.push(`${name}: list ${id} is ${found}`);
    }
    const counts = await readAll(client, `${this.#keyspace}.counts`, 'c');
    for (const [id, { acknowledged, unknown }] of this.#counts) {
      const found = Number(counts.get(id) ?? 0);
      if (found < acknowledged.size) lost.push(`${name}: counter ${id} is ${found}, not ${acknowledged.size}`);
      const most = acknowledged.size + unknown.size;
      if (found > most) duplicated.push(`${name}: counter ${id} is ${found}, at most ${most} were counted`);
    }
    return { lost, duplicated };
  }

  async #write(writer: number, apps: readonly Client[], random: Random): Promise<void> {
    // One generator of write times for each key: what is ordered for its writer is ordered in the clusters.
    const app = apps[writer % apps.length]!;
    while (!this.#isEnding) {
      const id = writer * 1_000 + random.below(KEYS_PER_WRITER);
      const drawn = random.below(100);
      let isKnown: boolean;
      if (drawn < 55) isKnown = await this.#set(app, [id], `v${++this.#next}`);
      else if (drawn < 65) isKnown = await this.#set(app, [id, id + KEYS_PER_WRITER], `v${++this.#next}`);
      else if (drawn < 72) isKnown = await this.#set(app, [id], null);
      else if (drawn < 82) isKnown = await this.#add(app, 'lists', writer * 1_000 + random.below(LISTS_PER_WRITER));
      else if (drawn < 88) isKnown = await this.#add(app, 'counts', writer * 1_000 + random.below(COUNTS_PER_WRITER));
      else isKnown = await this.#read(random.pick(apps), id);
      await sleep(isKnown ? PACE_MS : PAUSE_MS);
    }
  }

  /** Writes a value, or deletes the rows; two at once are a logged batch. */
  async #set(app: Client, ids: readonly number[], value: string | null): Promise<boolean> {
    const registers = ids.map((id) => this.#registerOf(id));
    for (const { unknown } of registers) unknown.add(value);
    const statements = ids.map((id) =>
      value === null
        ? { query: `DELETE FROM ${this.#keyspace}.plain WHERE id = ?`, params: [id] }
        : { query: `INSERT INTO ${this.#keyspace}.plain (id, v, n) VALUES (?, ?, ?)`, params: [id, value, this.#next] },
    );
    const [only, ...others] = statements;
    const isKnown = await this.#try(() =>
      others.length === 0 ? app.execute(only!.query, only!.params) : app.batch(statements),
    );
    if (!isKnown) return false;
    for (const register of registers) {
      register.acknowledged = value;
      register.unknown.clear();
    }
    return true;
  }

  async #add(app: Client, table: 'lists' | 'counts', id: number): Promise<boolean> {
    const tallies = table === 'lists' ? this.#lists : this.#counts;
    const tally: Tally = tallies.get(id) ?? { acknowledged: new Set(), unknown: new Set() };
    tallies.set(id, tally);
    const element = ++this.#next;
    tally.unknown.add(element);
    const isKnown = await this.#try(() =>
      table === 'lists'
        ? app.execute(`UPDATE ${this.#keyspace}.lists SET l = l + ? WHERE id = ?`, [[element], id])
        : app.execute(`UPDATE ${this.#keyspace}.counts SET c = c + 1 WHERE id = ?`, [id]),
    );
    if (!isKnown) return false;
    tally.unknown.delete(element);
    tally.acknowledged.add(element);
    return true;
  }

  async #read(app: Client, id: number): Promise<boolean> {
    const { acknowledged, unknown } = this.#registerOf(id);
    let seen: string | null;
    try {
      const { rows } = await app.execute(`SELECT v FROM ${this.#keyspace}.plain WHERE id = ?`, [id]);
      seen = (rows[0]?.['v'] as string | undefined) ?? null;
    } catch (error) {
      this.#note(error);
      return false;
    }
    this.reads++;
    if (seen !== acknowledged && !unknown.has(seen)) {
      this.faults.push(`a stale read of row ${id}: ${seen}, acknowledged was ${acknowledged}`);
    }
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
    const { name, code, message } = error as { name: string; code?: unknown; message: string };
    const isSocket = (typeof code === 'string' && /^E[A-Z]+$/.test(code)) || message === 'Socket was closed';
    const isRetryable =
      RETRYABLE_ERRORS.has(name) || isSocket || (name === 'ResponseError' && RETRYABLE_CODES.has(Number(code)));
    if (!isRetryable) this.faults.push(`${name} ${String(code)}: ${message}`);
  }

  #registerOf(id: number): Register {
    let register = this.#registers.get(id);
    if (register === undefined) {
      register = { acknowledged: null, unknown: new Set() };
      this.#registers.set(id, register);
    }
    return register;
  }
}

async function readAll(client: Client, table: string, column: string): Promise<Map<number, unknown>> {
  const query = `SELECT id, ${column} FROM ${table}`;
  const { rows } = await client.execute(query, [], { prepare: true, fetchSize: 10_000 });
  return new Map(rows.map((row) => [row['id'] as number, row[column] as unknown]));
}
