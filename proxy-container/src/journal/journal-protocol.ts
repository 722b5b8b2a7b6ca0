import type { MigrationConfig } from '#core/config/schema.ts';
import type { TableName } from '#core/model/failed-write.ts';
import type { JournalKeys } from './body-cipher.ts';
import type { LostWrite } from './bundle-writes.ts';
import type { JournalHealth } from './journal-health.ts';

// What the thread that serves clients and the one that keeps failed writes tell each other.

/** Of the journal's directory; it is there when something may be in the journal. */
export const DATABASE_NAME = 'journal.db';

/** What the thread of the journal is started with. */
export interface JournalSettings {
  /** Where its queue is. */
  readonly stores: Pick<MigrationConfig, 'failedWrites' | 'ledger'>;
  readonly directory: string;
  readonly maxBytes: number;
  readonly keys: JournalKeys;
  /** The proxy's name. */
  readonly instance: string;
  /** Of this process; its chunks have numbers of their own. */
  readonly run: string;
  readonly bundleBytes: number;
  /** A write whose message is larger has nowhere to go. */
  readonly maxMessageBytes: number;
  /** Between two attempts to reach the queue, at the most. */
  readonly maxPauseMs: number;
}

export type ToJournal =
  | {
      readonly kind: 'chunk';
      readonly number: number;
      /** Not written any more, and not used again before the chunk is kept. */
      readonly shared: SharedArrayBuffer;
      readonly byteLength: number;
    }
  /** Sends what it can in this time, and ends. */
  | { readonly kind: 'stop'; readonly withinMs: number };

export type FromJournal =
  /** It has looked through what was there. */
  | { readonly kind: 'opened' }
  /** Disk or queue has all of the chunk but what is lost. */
  | { readonly kind: 'kept'; readonly number: number; readonly writes: number; readonly lost: readonly LostWrite[] }
  | { readonly kind: 'doubt'; readonly tables: readonly TableName[]; readonly reason: string }
  | { readonly kind: 'health'; readonly health: JournalHealth }
  | {
      readonly kind: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>> | undefined;
    }
  | { readonly kind: 'stopped' };

/** The thread of a journal, as seen from the other one. */
export interface JournalThread {
  post(message: ToJournal): void;
  /** Ends it, whatever it is at. */
  end(): void;
}

/** Starts one. `onGone` is called once, when it has ended, however it did. */
export type StartJournalThread = (
  settings: JournalSettings,
  events: { onMessage(message: FromJournal): void; onGone(why: string): void },
) => JournalThread;
