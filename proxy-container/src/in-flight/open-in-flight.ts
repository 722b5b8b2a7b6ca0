import { mkdir, rm } from 'node:fs/promises';
import { describeError } from '#core/errors.ts';
import type { Flusher } from '../transport/frame-writer.ts';
import type { TimestampGenerator } from '../writes/timestamps.ts';
import { readBootId } from './boot-id.ts';
import { InFlightLog } from './in-flight-log.ts';
import type { LogCounters } from './log-counters.ts';
import { earlierFoldersOf, type LogPlace, logFilesIn, logFolderOf, noteFolder, prepareReserve } from './log-folder.ts';
import { type RecoveryPorts, recoverLog } from './recover.ts';

export interface OpenInFlightOptions extends Omit<RecoveryPorts, 'bootId' | 'clock'> {
  readonly failedWrites: LogPlace;
  readonly timestamps: TimestampGenerator;
  readonly flusher: Flusher;
  readonly counters: LogCounters;
}

/**
 * Brings what the process before this one had under way to the journal and the marks, and begins a log. A disk that can
 * not be read or written does not stop the start: the application needs its database, and its tables are marked instead.
 */
export async function openInFlight(options: OpenInFlightOptions): Promise<InFlightLog> {
  const { failedWrites, marks, timestamps, flusher, counters, logger } = options;
  const directory = logFolderOf(failedWrites);
  const bootId = readBootId();
  // Above whatever is there, were that not to be read.
  let first = { firstSegment: Date.now(), firstSequence: Date.now() * 1024 };
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const recover = async (folder: string) => {
      const clock = { nowMillis: () => timestamps.clusterMillis() };
      const recovered = await recoverLog(folder, { ...options, bootId, clock });
      timestamps.seed(recovered.lastTimestampMicros);
      counters.recovered.copied += recovered.copiedCount;
      counters.recovered.marked += recovered.markedCount;
      return recovered;
    };
    first = await recover(directory);
    for (const folder of await earlierFoldersOf(failedWrites)) {
      if ((await logFilesIn(folder)).length === 0) continue;
      await recover(folder);
      await rm(folder, { recursive: true, force: true });
    }
    await prepareReserve(directory);
    await noteFolder(failedWrites);
  } catch (error) {
    logger.error('the log of writes under way can not be made ready', { directory, error: describeError(error) });
  }
  const log = new InFlightLog({
    ...first,
    directory,
    bootId,
    timestamps,
    counters,
    logger,
    markTable: (keyspace, table, reason) =>
      marks.mark({ keyspace, table, tokens: null, code: 'crash-window', reason, lacking: null }),
  });
  flusher.beforeFlush = log.flush;
  return log;
}
