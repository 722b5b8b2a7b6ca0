import { appendFileSync, readFileSync, rmSync } from 'node:fs';
import type { TableName } from '#core/model/failed-write.ts';

/** The names of all tables that a journal holds writes of, beside it: what is in doubt when it can't be read itself. */
export class TablesFile {
  readonly #path: string;
  readonly #known = new Set<string>();

  constructor(path: string) {
    this.#path = path;
    for (const table of this.read()) this.#known.add(lineOf(table));
  }

  /** Before what is written of them is. A disk that refuses a name refuses what it stands for as well. */
  add(tables: readonly TableName[]): void {
    for (const table of tables) {
      const line = lineOf(table);
      if (this.#known.has(line)) continue;
      appendFileSync(this.#path, line, { mode: 0o600, flush: true });
      this.#known.add(line);
    }
  }

  read(): TableName[] {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch {
      return [];
    }
    return text.split('\n').flatMap((line) => {
      try {
        const { keyspace, table } = JSON.parse(line) as TableName;
        return [{ keyspace, table }];
      } catch {
        // The last one may be torn; what it stands for was not written then.
        return [];
      }
    });
  }

  remove(): void {
    rmSync(this.#path, { force: true });
    this.#known.clear();
  }
}

function lineOf({ keyspace, table }: TableName): string {
  return `${JSON.stringify({ keyspace, table })}\n`;
}
