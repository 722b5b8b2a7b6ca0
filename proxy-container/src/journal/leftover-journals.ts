import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MigrationConfig } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { readBootId } from '../in-flight/boot-id.ts';
import { earlierFoldersOf, logFilesIn, logFolderOf } from '../in-flight/log-folder.ts';
import { recoverLog } from '../in-flight/recover.ts';
import { DirectoryLock } from './directory-lock.ts';
import { DATABASE_NAME } from './journal-protocol.ts';
import { MARKS_FILE } from './marked-places.ts';
import { type JournalPorts, openJournal } from './open-journal.ts';
import { SuspectMarks } from './suspect-marks.ts';

const LOOK_MS = 200;
/** The process that has it may be draining. */
const RETRY_MS = 10_000;
const FLUSH_MS = 8_000;
const KEPT: ReadonlySet<string> = new Set([DATABASE_NAME, MARKS_FILE]);

export interface LeftoverOptions {
  readonly config: Pick<MigrationConfig, 'failedWrites' | 'ledger'>;
  /** Of processes that the configuration no longer has. */
  readonly directories: readonly string[];
  readonly instance: string;
  /** The name in the ledger of the process that used a directory. */
  readonly instanceOf: (directory: string) => string;
  readonly processId: string;
  readonly ledger: Ledger;
  readonly ports: JournalPorts;
}

/**
 * Brings to the queue and the ledger what processes have left in their journals that will not be started again, because
 * the configuration now asks for fewer of them.
 */
export class LeftoverJournals {
  readonly #options: LeftoverOptions;
  readonly #stop = new AbortController();
  /** Directories in which nothing is left that waits for anything. */
  readonly #emptied = new Set<string>();
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
    const { logger } = this.#options.ports;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const names = await readdir(directory).catch(() => []);
        const logFiles = await logFilesIn(logFolderOf({ ...this.#options.config.failedWrites, journalDir: directory }));
        if (logFiles.length === 0 && !names.some((name) => KEPT.has(name))) return;
        if (await this.#takeUp(directory)) return await this.#forget(directory);
      } catch (error) {
        logger.warn('a journal that another process left can not be taken up yet', {
          directory,
          error: describeError(error),
        });
      }
      await pause(RETRY_MS, signal);
    }
  }

  /** Nothing is on the disk of that process any more, so that no gate has to ask for it: it leaves the ledger. */
  async #forget(directory: string): Promise<void> {
    const { ledger, instanceOf } = this.#options;
    const { signal } = this.#stop;
    for (; this.#emptied.has(directory) && !signal.aborted; await pause(RETRY_MS, signal)) {
      const found = await ledger.readProxy(instanceOf(directory)).catch(() => null);
      if (found === undefined) return;
      if (found === null || Date.parse(found.record.leaseUntil) >= Date.now()) continue;
      // Written meanwhile, or the ledger is away: looked at again.
      await ledger.removeProxy(found.record.instance, found.version).catch(() => undefined);
    }
  }

  /** True: nothing is left to do here. */
  async #takeUp(directory: string): Promise<boolean> {
    const { config, instance, processId, ledger, ports } = this.#options;
    const { logger } = ports;
    // Clusters are not asked here.
    const clock = { nowMillis: Date.now };
    const lock = await DirectoryLock.take(directory, processId, logger);
    try {
      const marks = new SuspectMarks({ ledger, instance, directory, clock, logger });
      await marks.restore();
      const failedWrites = { ...config.failedWrites, journalDir: directory };
      const journal = await openJournal({ ...config, failedWrites }, ports, { instance, processId }, marks, {
        onKept: () => undefined,
        onDone: () => undefined,
      });
      logger.warn('a journal that another process left is taken up', { directory, messages: journal.health.messages });
      const hasQueue = failedWrites.kind === 'directory' || failedWrites.queueUrl !== null;
      const isLeft = (): boolean => marks.pendingCount > 0 || (hasQueue && journal.health.messages > 0);
      try {
        for (const log of [logFolderOf(failedWrites), ...(await earlierFoldersOf(failedWrites))]) {
          // Nothing is known of its tables here; who copies the places asks.
          await recoverLog(log, { instance, bootId: readBootId(), journal, marks, facts: undefined, clock, logger });
          await rm(log, { recursive: true, force: true });
        }
        while (isLeft() && !this.#stop.signal.aborted) {
          await pause(LOOK_MS, this.#stop.signal);
        }
      } finally {
        // Its thread has the database for itself, also against the next attempt.
        await journal.stop(FLUSH_MS);
      }
      await marks.flush();
      marks.close();
      if (marks.pendingCount === 0) await rm(join(directory, MARKS_FILE), { force: true });
      if (marks.pendingCount + journal.health.messages === 0) this.#emptied.add(directory);
      return !isLeft();
    } finally {
      await lock.release();
    }
  }
}

/** Ends early when the signal fires. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);
