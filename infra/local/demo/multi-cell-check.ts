import { setTimeout as sleep } from 'node:timers/promises';
import { RunFailedError } from '#core/errors.ts';
import type { NodeSettings } from '../cassandra-config.ts';
import { dataFiles, nodetool, sstabledump } from '../cassandra-tools.ts';
import type { LocalEnvironment } from '../environment.ts';
import { type CellComparison, compareDumps, type DumpedCell, readDump } from './sstable-cells.ts';
import { multiCellTable } from './tables.ts';

/** Columns whose element paths the server makes. */
const lists: ReadonlySet<string> = new Set(['history']);
/** A shadow write that takes longer than this is a failure, and the comparison may say so. */
const SETTLE_MS = 5000;

/**
 * Compares the table with multi-cell columns cell by cell, as Cassandra's own sstabledump shows the SSTables of both
 * clusters: each side is compacted into one file first, so that it holds what a read would see.
 */
export async function compareMultiCells(java: string, environment: LocalEnvironment): Promise<CellComparison> {
  const settledMicros = BigInt(Date.now()) * 1000n;
  await sleep(SETTLE_MS);
  const [origin, target] = await Promise.all([
    dumpTable(java, environment.origin),
    dumpTable(java, environment.target),
  ]);
  const isList = (key: string): boolean => [...lists].some((name) => key.includes(`] ${name} [`));
  return compareDumps(origin, target, settledMicros, isList);
}

async function dumpTable(java: string, node: NodeSettings): Promise<Map<string, DumpedCell>> {
  const { keyspace, table } = multiCellTable;
  await nodetool(java, node, 'flush', keyspace, table);
  await nodetool(java, node, 'compact', keyspace, table);
  return readDump(await sstabledump(java, node, await onlyDataFile(node)), lists);
}

/** Compaction removes its inputs a moment after it reports its end. */
async function onlyDataFile(node: NodeSettings): Promise<string> {
  const { keyspace, table } = multiCellTable;
  const deadline = Date.now() + 20_000;
  for (;;) {
    const files = dataFiles(node, keyspace, table);
    if (files.length === 1) return files[0] as string;
    if (Date.now() > deadline) {
      throw new RunFailedError(
        `${node.name}: ${files.length} SSTables of ${keyspace}.${table} where compaction leaves one`,
      );
    }
    await sleep(200);
  }
}
