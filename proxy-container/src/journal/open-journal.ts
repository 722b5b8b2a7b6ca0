import type { MigrationConfig } from '#core/config/schema.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import { Journal } from './journal.ts';
import { JournalSender } from './journal-sender.ts';
import type { SuspectMarks } from './suspect-marks.ts';

const MAX_JOURNAL_BYTES = 1024 * 1024 * 1024;

export interface OpenedJournal {
  readonly journal: Journal;
  /** Sends what is in it to the queue; undefined: there is no queue. */
  readonly sender: JournalSender | undefined;
}

/** Opens the journal of a proxy: what is in doubt in it is marked, and what is left in it is sent. */
export async function openJournal(
  settings: MigrationConfig['failedWrites'],
  queue: FailedWriteQueue | null,
  marks: SuspectMarks,
  logger: Logger,
): Promise<OpenedJournal> {
  const journal = await Journal.open({
    directory: settings.journalDir,
    maxBytes: MAX_JOURNAL_BYTES,
    logger,
    onDoubt: (tables, reason) => {
      for (const { keyspace, table } of tables) {
        marks.mark({ keyspace, table, tokens: null, code: 'torn', reason, lacking: null });
      }
    },
  });
  if (queue === null) return { journal, sender: undefined };
  const maxBackoffMs = settings.retryIntervalSecs * 1000;
  const sender = new JournalSender({ journal, queue, batchSize: settings.batchSize, maxBackoffMs, logger });
  sender.start();
  return { journal, sender };
}
