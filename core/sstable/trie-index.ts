import { tokenOf } from '#core/token/token.ts';
import type { PartitionIndex } from './partition-index.ts';
import { corrupt, type SSTableFiles } from './sstable-files.ts';
import type { SSTableStats } from './statistics.ts';

export function trieIndex(files: SSTableFiles, stats: SSTableStats, dataBytes: number): PartitionIndex {
  const bounds = () => {
    if (!stats.firstKey || !stats.lastKey) throw corrupt(files.name, 0, 'Statistics.db names no first and last key');
    return { first: tokenOf(stats.firstKey), last: tokenOf(stats.lastKey) };
  };
  return {
    tokenBounds: async () => bounds(),
    locate: async () => ({ start: 0, end: dataBytes }),
    fractionOf: async () => 1,
  };
}
