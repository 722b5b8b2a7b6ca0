import { decodeBigint, decodeText, encodeText } from '#core/cql/value-codec.ts';
import type { BoundValue, ResultPage } from '#core/model/cql-request.ts';
import type { RequestOptions } from '#core/ports.ts';

type Run = (text: string, values: readonly BoundValue[], options: RequestOptions) => Promise<ResultPage>;

/** Of keys without a directory; the empty text can't be a partition key. */
const TOP = '.';
/** Directories of which each part is a partition of its own, since they grow with the migration. */
const DIVIDED = new Set(['ranges', 'suspects', 'tickets']);
/** A key without a record may be of one that is about to be written. Microseconds. */
const MIN_AGE_MICROS = 3_600_000_000n;

/**
 * Which keys there may be: one is added before its record is, and forgotten long after the record has gone, at its own write
 * time, so that a record that comes meanwhile is never without it.
 */
export class LedgerKeys {
  readonly #table: string;
  readonly #run: Run;
  /** When keys without a record were written. */
  readonly #writtenAt = new Map<string, bigint>();

  constructor(keyspace: string, run: Run) {
    this.#table = `${keyspace}.ledger_keys`;
    this.#run = run;
  }

  async add(key: string): Promise<void> {
    const values = [encodeText(scopeOf(key)), encodeText(key)];
    await this.#run(`INSERT INTO ${this.#table} (scope, key, known) VALUES (?, ?, true)`, values, { idempotent: true });
  }

  /** Those with this prefix, ascending; some may have no record any more. */
  async *list(prefix: string): AsyncGenerator<string, void> {
    const parts: { readonly sort: string; readonly scope?: string }[] = [];
    for (const scope of await this.#scopes(prefix)) {
      if (scope !== TOP) parts.push({ sort: `${scope}/`, scope });
      else for await (const key of this.#keysOf(scope, prefix)) parts.push({ sort: key });
    }
    for (const { sort, scope } of parts.sort((a, b) => (a.sort < b.sort ? -1 : 1))) {
      if (scope === undefined) yield sort;
      else yield* this.#keysOf(scope, prefix);
    }
  }

  /** Takes away keys that had no record when they were listed. */
  async forget(keys: readonly string[]): Promise<void> {
    const nowMicros = BigInt(Date.now()) * 1000n;
    for (const key of keys) {
      const at = this.#writtenAt.get(key);
      this.#writtenAt.delete(key);
      if (at === undefined || nowMicros - at < MIN_AGE_MICROS) continue;
      const text = `DELETE FROM ${this.#table} USING TIMESTAMP ${at} WHERE scope = ? AND key = ?`;
      await this.#run(text, [encodeText(scopeOf(key)), encodeText(key)], { idempotent: true });
    }
  }

  async #scopes(prefix: string): Promise<string[]> {
    const [first, second] = prefix.split('/');
    if (second !== undefined && !DIVIDED.has(first!)) return [first!];
    if (second !== undefined && prefix.split('/').length > 2) return [`${first}/${second}`];
    const scopes: string[] = [];
    for await (const [scope] of this.#pages(`SELECT DISTINCT scope FROM ${this.#table}`, [])) {
      const text = decodeText(scope!);
      if (text === TOP || `${text}/`.startsWith(prefix) || prefix.startsWith(`${text}/`)) scopes.push(text);
    }
    return scopes;
  }

  async *#keysOf(scope: string, prefix: string): AsyncGenerator<string, void> {
    const text = `SELECT key, writetime(known) FROM ${this.#table} WHERE scope = ?`;
    for await (const [key, at] of this.#pages(text, [encodeText(scope)])) {
      const found = decodeText(key!);
      if (!found.startsWith(prefix)) continue;
      if (at) this.#writtenAt.set(found, decodeBigint(at));
      yield found;
    }
  }

  async *#pages(text: string, values: readonly BoundValue[]) {
    let pagingState: Uint8Array | undefined;
    do {
      const page = await this.#run(text, values, pagingState === undefined ? {} : { pagingState });
      yield* page.rows;
      pagingState = page.pagingState;
    } while (pagingState !== undefined);
  }
}

function scopeOf(key: string): string {
  const [first, second, third] = key.split('/');
  if (second === undefined) return TOP;
  return third !== undefined && DIVIDED.has(first!) ? `${first}/${second}` : first!;
}
