/** What waits in a journal, and how the way out of it is. */
export interface JournalHealth {
  /** Failed writes, and copies of places, that wait for the queue. */
  readonly messages: number;
  readonly bytes: number;
  /** When the oldest of them failed, in milliseconds since the epoch; null: nothing waits. */
  readonly oldestAtMs: number | null;
  /** Failed writes that the queue has taken since the start. */
  readonly sent: number;
  /** Messages that the queue never took; they stay, and their tables are marked. */
  readonly setAside: number;
  /** Messages that can't be read from the disk; their tables are marked. */
  readonly unreadable: number;
  /** Why the queue did not take messages last time; null: it did, or nothing was sent yet. */
  readonly queueError: string | null;
  /** Why the disk did not take failed writes last time; null: it did. */
  readonly diskError: string | null;
  /** When the queue took something last, in milliseconds since the epoch; null: not since the start. */
  readonly lastSentAtMs: number | null;
}
