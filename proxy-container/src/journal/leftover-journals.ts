import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { FailedWriteQueue, Logger } from '#core/ports.ts';
import { DirectoryLock } from './directory-lock.ts';
import { Journal } from './journal.ts';
import { JournalSender } from './journal-sender.ts';
import { SuspectMarks } from './suspect-marks.ts';

const LOOK_MS = 200;
/** The process that has it may be draining. */
const RETRY_MS = 10_000;
const FLUSH_MS = 8_000;
const KEPT = /\.journal$|^suspects\.jsonl$/;

export interface LeftoverOptions {
  /** Of processes that the configuration no longer has. */
  readonly directories: readonly string[];
  readonly instance: string;
  readonly processId: string;
  readonly ledger: Ledger;
  readonly queue: FailedWriteQueue | null;
  readonly batchSize: number;
  readonly maxBackoffMs: number;
  readonly logger: Logger;
}

/**
 * Brings to the queue and the ledger what processes have left in their journals that will not be started again, because
 * the configuration now asks for fewer of them.
 */
export class LeftoverJournals {
  readonly #options: LeftoverOptions;
  readonly #stop = new AbortController();
  #running: Promise<unknown> | undefined;

  constructor(options: LeftoverOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= Promise.all(this.#options.directories.map((directory) => this.#empty(directory)));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    // A lock may be watched for longer; what is then not done stays where it is.
    await Promise.race([this.#running, sleep(FLUSH_MS, undefined, { ref: false })]);
  }

  async #empty(directory: string): Promise<void> {
    const { logger } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const names = await readdir(directory).catch(() => []);
        if (!names.some((name) => KEPT.test(name))) return;
        if (await this.#takeUp(directory)) return;
      } catch (error) {
        logger.warn('a journal that another process left can not be taken up yet', {
          directory,
          error: describeError(error),
        });
      }
      await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  /** True: nothing is left to do here. */
  async #takeUp(directory: string): Promise<boolean> {
    const { instance, processId, ledger, queue, batchSize, maxBackoffMs, logger } = this.#options;
    const lock = await DirectoryLock.take(directory, processId, logger);
    try {
      const marks = new SuspectMarks({ ledger, instance, directory, logger });
      await marks.restore();
      const journal = await Journal.open({
        directory,
        maxBytes: Number.MAX_SAFE_INTEGER,
        logger,
        onDoubt: (tables, reason) => {
          for (const { keyspace, table } of tables) {
            marks.mark({ keyspace, table, tokens: null, code: 'torn', reason, lacking: null });
          }
        },
      });
      logger.warn('a journal that another process left is taken up', { directory, messages: journal.messageCount });
      const sender = queue && new JournalSender({ journal, queue, batchSize, maxBackoffMs, logger });
      sender?.start();
      const isLeft = (): boolean => marks.pendingCount > 0 || (sender !== null && journal.messageCount > 0);
      while (isLeft() && !this.#stop.signal.aborted) {
        await sleep(LOOK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined);
      }
      await sender?.stop(FLUSH_MS);
      await marks.flush();
      await journal.close();
      return !isLeft();
    } finally {
      await lock.release();
    }
  }
}
