import { ANY_TABLE, WHOLE_KEYSPACE } from '#core/ledger/records.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { Logger } from '#core/ports.ts';
import { type HeldRequest, HoldingRoom } from '../requests/holding-room.ts';
import { isTableName } from './marked-places.ts';

/** More stand for any table; names come from clients. */
const MAX_TABLES = 1000;
/** So long the first write to a table waits for the ledger, which stops nobody when it is away. Milliseconds. */
const TOLD_WITHIN_MS = 1_000;
const MAX_HELD_BYTES = 16 * 1024 * 1024;

export interface WrittenTablesOptions {
  /** Called when there is one more: the next heartbeat is due now. */
  readonly onNew: () => void;
  readonly logger: Logger;
}

/**
 * The tables that an instance writes whose disk ends with it. The ledger knows a table before its first write leaves: should
 * the instance vanish, what it takes with it is looked for in these tables alone.
 * @see core/jobs/mark-vanished.ts
 */
export class WrittenTables {
  readonly #options: WrittenTablesOptions;
  /** KEYSPACE.TABLE. */
  readonly #names = new Set<string>();
  /** Those that the ledger was away for. */
  readonly #untold = new Set<string>();
  readonly #room = new HoldingRoom(MAX_HELD_BYTES);
  #told: ReadonlySet<string> = new Set();

  constructor(options: WrittenTablesOptions) {
    this.#options = options;
  }

  /** For the heartbeat: each by its name, or `ANY_TABLE` alone. */
  get names(): readonly string[] {
    return this.#names.has(ANY_TABLE) ? [ANY_TABLE] : [...this.#names];
  }

  /** Of a process whose debts this one has. */
  inherit(names: readonly string[]): void {
    for (const name of names) this.#names.add(this.#boundedOf(name));
  }

  /** Whether a request that writes these may leave. One that may not is given to `hold`. */
  mayWrite(tables: readonly TableName[]): boolean {
    if (this.#told.has(ANY_TABLE)) return true;
    // Who has waited for it in vain has waited for all.
    const isAway = this.#untold.size > 0;
    const added: string[] = [];
    let mayWrite = true;
    for (const table of tables) {
      // A cluster refuses other names.
      if (table.table === WHOLE_KEYSPACE || !isTableName(table.keyspace, table.table)) continue;
      const name = this.#boundedOf(`${table.keyspace}.${table.table}`);
      if (this.#told.has(name) || this.#untold.has(name)) continue;
      mayWrite = isAway;
      if (this.#names.has(name)) continue;
      this.#names.add(name);
      added.push(name);
    }
    if (added.length > 0) {
      this.#options.onNew();
      if (isAway) this.#noteUntold(added);
      else setTimeout(() => this.#goOnWithout(added), TOLD_WITHIN_MS).unref();
    }
    return mayWrite;
  }

  /** Keeps the request until the ledger has answered, or has had its time. False: there is no room. */
  hold(request: HeldRequest): boolean {
    return this.#room.hold(request);
  }

  get heldCount(): number {
    return this.#room.count;
  }

  get heldBytes(): number {
    return this.#room.byteCount;
  }

  drop(request: HeldRequest): void {
    this.#room.drop(request);
  }

  /** The ledger has them. */
  told(names: readonly string[]): void {
    this.#told = new Set(names);
    for (const name of names) this.#untold.delete(name);
    this.#room.release();
  }

  #boundedOf(name: string): string {
    return this.#names.has(name) || this.#names.size < MAX_TABLES ? name : ANY_TABLE;
  }

  #goOnWithout(names: readonly string[]): void {
    const lacking = names.filter((name) => !this.#told.has(name));
    if (lacking.length === 0 || this.#told.has(ANY_TABLE)) return;
    this.#noteUntold(lacking);
    this.#room.release();
  }

  #noteUntold(names: readonly string[]): void {
    this.#options.logger.warn('the ledger does not know yet which tables this instance writes', { tables: names });
    for (const name of names) this.#untold.add(name);
  }
}
