/** Work that goes on while something is done to the proxies, and notes everything that went wrong. */
import type { Client } from 'cassandra-driver';
import { eventually } from '../../support/eventually.ts';

/** One piece of work, done over and over. @throws what went wrong; nothing may */
export type Work = () => Promise<void>;

export class SteadyLoad {
  readonly faults: string[] = [];
  readonly #done: number[];
  readonly #running: Promise<void>[];
  #generation = 0;
  #isEnding = false;
  #count = 0;

  constructor(works: readonly Work[]) {
    this.#done = works.map(() => 0);
    this.#running = works.map((work, index) => this.#repeat(work, index));
  }

  /** How often a piece of work was done. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when each piece of work was begun after this call, and done. */
  async wholeRound(): Promise<void> {
    const generation = ++this.#generation;
    await eventually(() => {
      const late = this.#done.filter((done) => done < generation).length;
      if (late > 0) throw new Error(`${late} of ${this.#done.length} are not done; faults: ${this.faults.join('; ')}`);
    });
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await Promise.all(this.#running);
  }

  async #repeat(work: Work, index: number): Promise<void> {
    while (!this.#isEnding) {
      const generation = this.#generation;
      try {
        await work();
        this.#count++;
      } catch (error) {
        this.faults.push(String(error));
        if (this.faults.length > 100) return;
      }
      this.#done[index] = generation;
    }
  }
}

/** Writes a row again and again, and reads each time what it wrote, through another client. */
export function readYourWrites(writer: Client, reader: Client, table: string, id: number): Work {
  let version = 0;
  return async () => {
    version++;
    await writer.execute(`INSERT INTO ${table} (id, version) VALUES (?, ?)`, [id, version], { prepare: true });
    const { rows } = await reader.execute(`SELECT version FROM ${table} WHERE id = ?`, [id], { prepare: true });
    const seen = rows[0]?.['version'];
    if (seen !== version) throw new Error(`row ${id} has ${seen} and not ${version}, which was written before`);
  };
}

/** Reads a whole table page by page, and counts its rows. */
export function scan(client: Client, table: string, rowCount: number, prepare: boolean): Work {
  return async () => {
    const ids = new Set<number>();
    let pageState: string | undefined;
    do {
      const options = { prepare, fetchSize: 7, ...(pageState === undefined ? {} : { pageState }) };
      const page = await client.execute(`SELECT id FROM ${table}`, [], options);
      for (const row of page.rows) ids.add(row['id'] as number);
      if (page.rows.length > 7) throw new Error(`a page of 7 has ${page.rows.length} rows`);
      pageState = page.pageState ?? undefined;
    } while (pageState !== undefined);
    if (ids.size !== rowCount) throw new Error(`a scan found ${ids.size} of ${rowCount} rows`);
  };
}
