import type { ComparedTable } from '../checksum/compared-table.ts';
import { PartitionRepair, type RepairOptions, type RepairPorts } from './repair-partition.ts';
import { takeTurns } from './take-turns.ts';

export interface RepairResult {
  readonly isSame: boolean;
  readonly statements: number;
}

/** Partitions that are read or repaired at once. */
export const REPAIRS_AT_ONCE = 16;
/** What is held of differences between two readings. Bytes, about. */
export const MAX_HELD_BYTES = 32 * 1024 * 1024;

/**
 * Brings partitions together; one result for each, in order.
 * @throws what a cluster answered for one of them; nothing more was begun then
 */
export async function repairPartitions(
  table: ComparedTable,
  partitions: readonly (readonly Uint8Array[])[],
  ports: RepairPorts,
  options: RepairOptions,
  signal?: AbortSignal,
): Promise<RepairResult[]> {
  const results = partitions.map((): RepairResult => ({ isSame: false, statements: 0 }));
  let hasFailed = false;
  const turns = partitions.map((keyValues, index) => {
    const repair = new PartitionRepair(table, keyValues, ports, options);
    return {
      get heldBytes() {
        return repair.heldBytes;
      },
      async step() {
        try {
          const next = await repair.advance(signal);
          results[index] = { isSame: next === 'same', statements: repair.statements };
          return next === 'wait' ? next : 'ended';
        } catch (error) {
          hasFailed = true;
          throw error;
        }
      },
    };
  });
  const rules = {
    settleMs: options.settleMs,
    concurrency: REPAIRS_AT_ONCE,
    maxHeldBytes: MAX_HELD_BYTES,
    mayBegin: () => !hasFailed,
    mayGoOn: () => !hasFailed,
    sleep: ports.sleep,
  };
  for (const end of await takeTurns(turns, rules, signal)) if (end.kind === 'failed') throw end.error;
  signal?.throwIfAborted();
  return results;
}
