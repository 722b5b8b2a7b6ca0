import type { FailedWritesConfig } from '#core/config/failed-writes-schema.ts';
import { markPredecessor, type VanishedPorts } from '#core/jobs/mark-vanished.ts';
import type { ProxyRecord } from '#core/ledger/records.ts';
import type { Counters } from '../counters/counters.ts';
import { VanishedWatch } from '../phase/vanished-watch.ts';
import { WrittenTables } from './written-tables.ts';

const MIB = 1024 * 1024;
const MIN_JOURNAL_BYTES = 16 * MIB;
/** No write is under way between its clusters for longer, unless its copy is counted among those that are. */
const UNDER_WAY_MS = 60_000;

/** Whether the disk of the journal outlives this instance. Cloud Run's is memory. */
export function storageOf(
  config: Pick<FailedWritesConfig, 'storage'>,
  env: Readonly<Record<string, string | undefined>>,
): 'volume' | 'ephemeral' {
  return config.storage ?? (env['K_SERVICE'] ? 'ephemeral' : 'volume');
}

/**
 * The room of a journal. A disk that ends with the instance may be its memory, as on Cloud Run: a full one would end it.
 * @param memoryBytes what the process may use
 */
export function journalBytes(
  config: Pick<FailedWritesConfig, 'storage' | 'journalMaxMB'>,
  env: Readonly<Record<string, string | undefined>>,
  memoryBytes: number,
): number {
  const bytes = config.journalMaxMB * MIB;
  if (storageOf(config, env) === 'volume') return bytes;
  return Math.min(bytes, Math.max(MIN_JOURNAL_BYTES, Math.floor(memoryBytes / 4)));
}

export interface DurabilityOptions extends VanishedPorts {
  readonly storage: 'volume' | 'ephemeral';
  readonly instance: string;
  readonly processId: string;
  readonly counters: Counters;
  /** What failed before is in the queue, and what was marked before is in the ledger. Milliseconds since the epoch. */
  readonly settledAtMs: () => number;
  /** Failed writes, marks and writes under way that only this disk knows of. */
  readonly leftCount: () => number;
  /** Called before the first write to a table: the ledger must know of it. */
  readonly onNewTable: () => void;
}

/**
 * What an instance whose disk ends with it tells of itself, so that others find what it takes with it: the tables that it
 * writes, and since when all that failed is elsewhere.
 * @see core/jobs/mark-vanished.ts
 */
export class Durability {
  readonly #options: DurabilityOptions;
  readonly #others: VanishedWatch;
  /** undefined: the disk outlives this instance. */
  readonly writtenTables: WrittenTables | undefined;

  constructor(options: DurabilityOptions) {
    this.#options = options;
    this.#others = new VanishedWatch(options);
    const { storage, onNewTable: onNew, logger } = options;
    this.writtenTables = storage === 'ephemeral' ? new WrittenTables({ onNew, logger }) : undefined;
  }

  /**
   * Takes over from a process of the same name: its debts with its disk, or else marks what it has taken with it.
   * @param deadProcessId the process that this disk says was here before
   * @param isDiskNew no process has used this one yet
   * @param waitForName resolves when nobody else holds the name
   */
  async takeOver(
    deadProcessId: string | undefined,
    isDiskNew: boolean,
    waitForName: () => Promise<void>,
  ): Promise<void> {
    const { ledger, instance, processId } = this.#options;
    const hasDisk = (id: string | undefined) => id === processId || (id !== undefined && id === deadProcessId);
    const found = await ledger.readProxy(instance);
    if (found && hasDisk(found.record.processId)) this.writtenTables?.inherit(found.record.tables ?? []);
    await waitForName();
    await markPredecessor(instance, { hasDisk, isDiskNew }, this.#options);
  }

  /** For the heartbeat. */
  facts(): Partial<ProxyRecord> {
    const { storage } = this.#options;
    if (this.writtenTables === undefined) return { storage };
    const { names } = this.writtenTables;
    return { storage, durableAt: new Date(this.#durableAtMs()).toISOString(), tables: [...names] };
  }

  /** The ledger has a heartbeat with these facts. */
  noteTold({ tables }: Partial<ProxyRecord>): void {
    this.writtenTables?.told(tables ?? []);
  }

  /** It ends, and takes with it what nobody else has. */
  get owes(): boolean {
    return this.#options.storage === 'ephemeral' && this.#options.leftCount() > 0;
  }

  /** It ends, and leaves on a disk that stays what nobody else has: the gates must know until somebody takes it up. */
  get leaves(): boolean {
    return this.#options.storage === 'volume' && this.#options.leftCount() > 0;
  }

  /** Looks for other instances that are gone. */
  start(): void {
    if (this.#options.storage === 'ephemeral') this.#others.start();
  }

  stop(): Promise<void> {
    return this.#others.stop();
  }

  #durableAtMs(): number {
    const { counters, settledAtMs } = this.#options;
    const oldestCopyMs = Date.now() - counters.shadows.lag(performance.now()).allMs;
    return Math.max(0, Math.min(settledAtMs(), oldestCopyMs) - UNDER_WAY_MS);
  }
}
