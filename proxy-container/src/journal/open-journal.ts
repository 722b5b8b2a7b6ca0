import { totalmem } from 'node:os';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { Logger } from '#core/ports.ts';
import type { Counters } from '../counters/counters.ts';
import type { JournalKeys } from './body-cipher.ts';
import type { LostWrite } from './bundle-writes.ts';
import { journalBytes } from './durability.ts';
import { Journal, type JournalOptions } from './journal.ts';
import type { StartJournalThread } from './journal-protocol.ts';
import type { SuspectMarks } from './suspect-marks.ts';

/** What a journal needs of the world. */
export interface JournalPorts {
  readonly startJournal: StartJournalThread;
  readonly journalKeys: JournalKeys;
  /** Larger failed writes have nowhere to go. Bytes. */
  readonly maxMessageBytes: number;
  readonly logger: Logger;
}

/** Whose journal it is. */
export interface JournalOwner {
  readonly instance: string;
  /** Made anew by each process. */
  readonly processId: string;
}

/** Opens the journal of a proxy: what is in doubt in it is marked, and what is left in it is sent. */
export async function openJournal(
  config: Pick<MigrationConfig, 'failedWrites' | 'ledger'>,
  ports: JournalPorts,
  owner: JournalOwner,
  marks: SuspectMarks,
  events: Pick<JournalOptions, 'onKept' | 'onDone'> & { readonly onLost?: (lost: LostWrite) => void },
): Promise<Journal> {
  const { failedWrites, ledger } = config;
  const journal = new Journal({
    settings: {
      stores: { failedWrites, ledger },
      directory: failedWrites.journalDir,
      maxBytes: journalBytes(failedWrites, process.env, process.constrainedMemory() || totalmem()),
      keys: ports.journalKeys,
      instance: owner.instance,
      run: owner.processId,
      bundleBytes: failedWrites.bundleKB * 1024,
      maxMessageBytes: ports.maxMessageBytes,
      maxPauseMs: failedWrites.retryIntervalSecs * 1000,
    },
    start: ports.startJournal,
    logger: ports.logger,
    onKept: events.onKept,
    onDone: events.onDone,
    onLost: (lost) => {
      const { code, reason, lacking } = lost;
      for (const { keyspace, table, tokens = null } of lost.tables) {
        marks.mark({ keyspace, table, tokens, code, reason, lacking });
      }
      events.onLost?.(lost);
    },
  });
  await journal.open();
  return journal;
}

/** Counts a failed write that no message carries. */
export function countLost(counters: Counters, { code, tables }: LostWrite): void {
  if (code !== 'too-large') return;
  counters.shadowUnqueueable++;
  for (const { keyspace, table } of tables) counters.table(keyspace, table).unqueueable++;
}
