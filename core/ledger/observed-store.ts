import { LedgerConflictError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';

/** What a store is asked to do. */
export const ledgerOperations = ['get', 'has', 'put', 'list', 'entries', 'remove'] as const;
export type LedgerOperation = (typeof ledgerOperations)[number];

/** conflict: somebody else had changed the record, which whoever writes expects; error: the store did not do it. */
export const ledgerOutcomes = ['ok', 'conflict', 'error'] as const;
export type LedgerOutcome = (typeof ledgerOutcomes)[number];

/** One operation that has ended. */
export interface DoneOperation {
  readonly operation: LedgerOperation;
  /** Or the prefix of what is listed. */
  readonly key: string;
  readonly outcome: LedgerOutcome;
  /** In the store: what is done between the records of a list is not in it. */
  readonly durationMs: number;
}

export interface OperationWatch {
  /** A monotonic clock, in milliseconds. */
  readonly now: () => number;
  readonly onDone: (operation: DoneOperation) => void;
}

/** The same store; `onDone` is called once for each operation when it ends, a list's when nobody reads on. */
export function withObserver(store: LedgerStore, { now, onDone }: OperationWatch): LedgerStore {
  async function observe<T>(operation: LedgerOperation, key: string, run: () => Promise<T>): Promise<T> {
    const from = now();
    let outcome: LedgerOutcome = 'ok';
    try {
      return await run();
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      onDone({ operation, key, outcome, durationMs: now() - from });
    }
  }

  async function* observeEach<T>(
    operation: LedgerOperation,
    key: string,
    items: AsyncIterable<T>,
  ): AsyncGenerator<T, void, undefined> {
    const iterator = items[Symbol.asyncIterator]();
    let outcome: LedgerOutcome = 'ok';
    let durationMs = 0;
    let isEnded = false;
    const next = async (): Promise<IteratorResult<T>> => {
      const from = now();
      try {
        return await iterator.next();
      } catch (error) {
        isEnded = true;
        outcome = outcomeOf(error);
        throw error;
      } finally {
        durationMs += now() - from;
      }
    };
    try {
      for (let found = await next(); !found.done; found = await next()) yield found.value;
      isEnded = true;
    } finally {
      if (!isEnded) await iterator.return?.();
      onDone({ operation, key, outcome, durationMs });
    }
  }

  return {
    get: (key) => observe('get', key, () => store.get(key)),
    has: (key) => observe('has', key, () => store.has(key)),
    put: (key, value, version) => observe('put', key, () => store.put(key, value, version)),
    list: (prefix) => observeEach('list', prefix, store.list(prefix)),
    entries: (prefix) => observeEach('entries', prefix, store.entries(prefix)),
    remove: (key, version) => observe('remove', key, () => store.remove(key, version)),
    close: () => store.close(),
  };
}

function outcomeOf(error: unknown): LedgerOutcome {
  return error instanceof LedgerConflictError ? 'conflict' : 'error';
}
