/** A target with secondary indexes, and a ledger: what dropping and restoring them is tested against. */

import type { IndexPorts } from '#core/jobs/drop-indexes.ts';
import {
  type RestoreOptions,
  type RestoreResult,
  type RestoreScope,
  restoreIndexes,
} from '#core/jobs/restore-indexes.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { listSavedIndexes, type SavedIndex } from '#core/ledger/saved-indexes.ts';
import { createIndexStatement, dropIndexStatement, type IndexDefinition } from '#core/model/index-definition.ts';
import { createMemoryLedgerStore } from './memory-ledger-store.ts';

export const START = Date.UTC(2026, 0, 1);

export const index = (table: string, name: string, column = 'a'): IndexDefinition => ({
  keyspace: 'ks',
  table,
  name,
  kind: 'COMPOSITES',
  options: { target: column },
});

export const definitions = [index('t', 't_a'), index('t', 't_b', 'b'), index('u', 'u_a'), index('u', 'u_stays', 'c')];

export class IndexWorld {
  readonly ledger = createLedger(createMemoryLedgerStore());
  nowMillis = START;
  /** What exists, and when it is built. */
  readonly present = new Map(definitions.map((each) => [each.name, { index: each, builtAt: 0 }]));
  readonly statements: string[] = [];
  mostBuilding = 0;
  buildMs = 5000;
  /** Called before each statement; throws to fail it. */
  onChange: (statement: string) => void | Promise<void> = () => undefined;
  /** Called before each look; throws to fail it. */
  onList: () => void | Promise<void> = () => undefined;
  onSleep: (ms: number) => void | Promise<void> = () => undefined;

  get ports(): IndexPorts {
    return {
      ledger: this.ledger,
      clock: { nowMillis: () => this.nowMillis },
      logger: { debug() {}, info() {}, warn() {}, error() {} },
      sleep: async (ms) => {
        await this.onSleep(ms);
        this.nowMillis += ms;
      },
      indexes: {
        list: async () => {
          await this.onList();
          return [...this.present.values()].map((each) => each.index);
        },
        change: async (statement) => {
          await this.onChange(statement);
          this.apply(statement);
        },
        built: async () =>
          new Set(
            [...this.present.values()].filter((each) => each.builtAt <= this.nowMillis).map((each) => each.index.name),
          ),
      },
    };
  }

  apply(statement: string): void {
    this.statements.push(statement);
    for (const each of definitions) {
      if (statement === dropIndexStatement(each)) this.present.delete(each.name);
      if (statement !== createIndexStatement(each) || this.present.has(each.name)) continue;
      this.present.set(each.name, { index: each, builtAt: this.nowMillis + this.buildMs });
      const building = [...this.present.values()].filter(({ builtAt }) => builtAt > this.nowMillis).length;
      this.mostBuilding = Math.max(this.mostBuilding, building);
    }
  }

  /** A load that has chosen three of the four. */
  async startRun(runId: string, keyspace = 'ks'): Promise<void> {
    await this.ledger.startRun({
      version: 1,
      runId,
      kind: 'load',
      keyspace,
      tables: ['t', 'u'],
      state: 'running',
      startedAt: new Date(this.nowMillis).toISOString(),
      endedAt: null,
      rangeCount: 1,
      totalBytes: 0,
      rebuildIndexes: definitions.slice(0, 3).map(({ keyspace: ks, table, name }) => ({ keyspace: ks, table, name })),
      input: {},
    });
  }

  endRun(runId: string): Promise<void> {
    return this.ledger.endRun(runId, 'failed', new Date(this.nowMillis));
  }

  restore(scope: RestoreScope, change: Partial<RestoreOptions> = {}): Promise<RestoreResult> {
    return restoreIndexes(scope, this.ports, { buildsAtOnce: 2, buildTimeoutMs: 3_600_000, ...change });
  }

  names(): string[] {
    return [...this.present.keys()].sort();
  }

  drops(): string[] {
    return this.statements.filter((text) => text.startsWith('DROP'));
  }

  async states(): Promise<string[]> {
    return (await listSavedIndexes(this.ledger.store)).map(({ table, state, runId }) => `${table} ${state} ${runId}`);
  }

  /** A saved index as the ledger has it now. */
  async saved(name: string): Promise<SavedIndex | undefined> {
    return (await listSavedIndexes(this.ledger.store))
      .flatMap(({ indexes }) => indexes)
      .find((each) => each.name === name);
  }
}
