import { mkdirSync } from 'node:fs';
import { describeError } from '#core/errors.ts';
import type { Clock, FailedWriteQueue, Logger } from '#core/ports.ts';
import { BodyCipher } from './body-cipher.ts';
import { Bundler } from './bundle-writes.ts';
import { JournalDatabase } from './journal-database.ts';
import type { JournalHealth } from './journal-health.ts';
import type { FromJournal, JournalSettings, ToJournal } from './journal-protocol.ts';
import { JournalSender } from './journal-sender.ts';
import { Outbox } from './outbox.ts';

/** Health is told so often at most. */
const HEALTH_MS = 100;
const BALLAST_MS = 10_000;

export interface JournalCoreOptions {
  readonly settings: JournalSettings;
  /** null: what comes stays. */
  readonly queue: FailedWriteQueue | null;
  readonly clock: Clock;
  readonly maxRefusals?: number;
  post(message: FromJournal): void;
}

/** The journal itself: takes chunks of failed writes, keeps them as messages, and sends those to the queue. */
export class JournalCore {
  readonly #options: JournalCoreOptions;
  readonly #database: JournalDatabase;
  readonly #outbox: Outbox;
  readonly #sender: JournalSender | undefined;
  readonly #logger: Logger;
  readonly #timers: NodeJS.Timeout[] = [];
  #healthTimer: NodeJS.Timeout | undefined;
  #isStopping = false;

  /** Opens what is there, or makes it. @throws what the file system or SQLite throws */
  constructor(options: JournalCoreOptions) {
    const { settings, queue, clock, post } = options;
    this.#options = options;
    this.#logger = loggerOf(post);
    mkdirSync(settings.directory, { recursive: true, mode: 0o700 });
    const bundler = new Bundler(settings);
    this.#database = new JournalDatabase({
      directory: settings.directory,
      maxBytes: settings.maxBytes,
      cipher: new BodyCipher(settings.keys),
      logger: this.#logger,
      onDoubt: (tables, reason) => post({ kind: 'doubt', tables, reason }),
    });
    this.#outbox = new Outbox({
      database: this.#database,
      run: settings.run,
      maxPauseMs: settings.maxPauseMs,
      ...(options.maxRefusals === undefined ? {} : { maxRefusals: options.maxRefusals }),
      clock,
      logger: this.#logger,
      bundle: (chunk) => bundler.bundle(chunk),
      onKept: (number, writes, lost) => {
        this.#tellHealth();
        post({ kind: 'kept', number, writes, lost });
      },
      onSetAside: ({ tables }, reason) => post({ kind: 'doubt', tables, reason }),
    });
    // A pause that another process began is over, and its clock may have been another one.
    this.#outbox.makeDue();
    this.#sender =
      queue === null
        ? undefined
        : new JournalSender({
            outbox: this.#outbox,
            queue,
            maxBackoffMs: settings.maxPauseMs,
            logger: this.#logger,
            onChange: () => this.#changed(),
          });
    this.#sender?.start();
    const { waiting } = this.#database.counts;
    if (waiting > 0) this.#logger.info('failed writes of an earlier process are in the journal', { waiting });
    // While the disk refuses, nothing else may ask it again.
    this.#timers.push(setInterval(() => this.#store(), 1000).unref());
    this.#timers.push(setInterval(() => this.#database.restoreBallast(), BALLAST_MS).unref());
    this.#tellHealth();
    post({ kind: 'opened' });
  }

  receive(message: ToJournal): void {
    if (this.#isStopping) return;
    if (message.kind === 'stop') {
      void this.#stop(message.withinMs);
      return;
    }
    this.#outbox.add(message.number, Buffer.from(message.shared, 0, message.byteLength));
    this.#sender?.wake();
    this.#changed();
  }

  /** Ends at once: what is on the disk stays there, what is not is its giver's. */
  abandon(): void {
    this.#isStopping = true;
    this.#sender?.abort();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#healthTimer);
    this.#database.abandon();
  }

  #store(): void {
    if (this.#outbox.heldCount === 0 && this.#outbox.diskError === undefined) return;
    this.#outbox.store();
    this.#sender?.wake();
    this.#changed();
  }

  #changed(): void {
    this.#healthTimer ??= setTimeout(() => this.#tellHealth(), HEALTH_MS).unref();
  }

  #tellHealth(): void {
    clearTimeout(this.#healthTimer);
    this.#healthTimer = undefined;
    try {
      this.#options.post({ kind: 'health', health: this.#health() });
    } catch (error) {
      this.#logger.error('the journal can not be looked at', { error: describeError(error) });
    }
  }

  #health(): JournalHealth {
    const { counts } = this.#database;
    return {
      ...this.#outbox.counts,
      sent: this.#sender?.sentCount ?? 0,
      setAside: counts.setAside,
      unreadable: counts.unreadable,
      queueError: this.#sender?.lastError ?? null,
      diskError: this.#outbox.diskError ?? null,
      lastSentAtMs: this.#sender?.lastSentAtMs ?? null,
    };
  }

  async #stop(withinMs: number): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    await this.#sender?.stop(withinMs);
    for (const timer of this.#timers) clearInterval(timer);
    this.#outbox.store();
    this.#tellHealth();
    try {
      this.#database.close();
    } catch (error) {
      this.#logger.error('the journal can not be closed', { error: describeError(error) });
    }
    this.#options.post({ kind: 'stopped' });
  }
}

function loggerOf(post: JournalCoreOptions['post']): Logger {
  const log =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields?: Readonly<Record<string, unknown>>): void =>
      post({ kind: 'log', level, message, fields });
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
}
