import { LedgerConflictError } from '../errors.ts';
import type { LedgerStore } from '../ports.ts';

/** Changes of a batch that are under way at once. */
const WIDTH = 16;

type Operation =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly version: string | null | undefined }
  | { readonly kind: 'remove'; readonly key: string; readonly version: string | undefined };

/** What became of a batch. */
export interface BatchOutcome {
  readonly applied: number;
  /** Keys that somebody else has changed; what came behind the first of them was not begun. */
  readonly conflicts: readonly string[];
}

/** Changes that are collected and made together: in their order for one key, sixteen at once, and not all or none. */
export interface LedgerBatch {
  put(key: string, value: string, expectedVersion?: string | null): void;
  remove(key: string, expectedVersion?: string): void;
  readonly size: number;
  /**
   * Makes the changes and empties the batch. Stops at the first conflict.
   * @throws LedgerUnavailableError; how far it came is not known then, and the batch can be committed again
   */
  commit(): Promise<BatchOutcome>;
}

export function createLedgerBatch(store: LedgerStore): LedgerBatch {
  let operations: Operation[] = [];
  return {
    put: (key, value, version) => void operations.push({ kind: 'put', key, value, version }),
    remove: (key, version) => void operations.push({ kind: 'remove', key, version }),
    get size() {
      return operations.length;
    },
    async commit() {
      const conflicts: string[] = [];
      let applied = 0;
      for (const group of inGroups(operations)) {
        if (conflicts.length > 0) break;
        const results = await Promise.all(group.map((operation) => apply(operation, store)));
        for (const [index, isApplied] of results.entries()) {
          if (isApplied) applied++;
          else conflicts.push(group[index]!.key);
        }
      }
      operations = [];
      return { applied, conflicts };
    },
  };
}

async function apply(operation: Operation, store: LedgerStore): Promise<boolean> {
  try {
    if (operation.kind === 'put') await store.put(operation.key, operation.value, operation.version);
    else await store.remove(operation.key, operation.version);
    return true;
  } catch (error) {
    if (error instanceof LedgerConflictError) return false;
    throw error;
  }
}

/** Of distinct keys each, so that those of one group need no order. */
function* inGroups(operations: readonly Operation[]): Generator<Operation[], void> {
  let group: Operation[] = [];
  let keys = new Set<string>();
  for (const operation of operations) {
    if (group.length === WIDTH || keys.has(operation.key)) {
      yield group;
      group = [];
      keys = new Set();
    }
    group.push(operation);
    keys.add(operation.key);
  }
  if (group.length > 0) yield group;
}
