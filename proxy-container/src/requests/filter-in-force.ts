import { readYamlFile } from '#adapters/config-file.ts';
import { stampOf } from '#adapters/watched-files.ts';
import type { Phase } from '#core/config/schema.ts';
import { describeError, UsageError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { type FilterRules, filterRulesSchema, NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import type { Logger } from '#core/ports.ts';

const WATCH_MS = 5_000;

/** The filter rules that decide now, and their file. */
export class FilterInForce {
  readonly #path: string | null;
  #rules: FilterRules = NO_FILTER_RULES;
  #filter: Filter = createFilter(NO_FILTER_RULES);
  #fault: string | undefined;
  /** Of the file when it was last read. */
  #readStamp = '';
  /** Of the file when it was last looked at. */
  #seenStamp = '';
  #watcher: NodeJS.Timeout | undefined;
  /** The last reading: one that began earlier must not end later. */
  #reading: Promise<unknown> = Promise.resolve();

  /** @param path null: nothing is filtered */
  constructor(path: string | null) {
    this.#path = path;
  }

  get rules(): FilterRules {
    return this.#rules;
  }

  get filter(): Filter {
    return this.#filter;
  }

  /** Why the rules in force are not those of their file; undefined: they are. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /**
   * Reads them again.
   * @param phase undefined: none is in force yet
   * @throws ConfigError, UsageError; then the old rules stay in force
   */
  reload(phase: Phase | undefined): Promise<FilterRules> {
    const reading = this.#reading.then(() => this.#read(phase));
    this.#reading = reading.catch(() => undefined);
    return reading;
  }

  async #read(phase: Phase | undefined): Promise<FilterRules> {
    const path = this.#path;
    if (path !== null) this.#readStamp = stampOf([path]);
    try {
      const rules = path === null ? NO_FILTER_RULES : await readYamlFile(filterRulesSchema, path, 'the filter rules');
      const filter = createFilter(rules);
      if (phase === 'target-only' && !filter.isEmpty) {
        throw new UsageError('in target-only there is no cluster to keep filtered data; the rules stay as they were');
      }
      this.#rules = rules;
      this.#filter = filter;
      this.#fault = undefined;
      return rules;
    } catch (error) {
      this.#fault = describeError(error);
      throw error;
    }
  }

  /**
   * Reads them again when their file has changed, and then stays as it is from one look to the next: one that is being
   * written is not taken half. Rules that can't be used leave the old ones in force, and are told of.
   * @param phase as above
   */
  watch(logger: Logger, phase: () => Phase | undefined, everyMs: number = WATCH_MS): void {
    const path = this.#path;
    if (path === null) return;
    this.#seenStamp = this.#readStamp;
    this.#watcher = setInterval(() => {
      const stamp = stampOf([path]);
      const isSettled = stamp === this.#seenStamp;
      this.#seenStamp = stamp;
      if (!isSettled || stamp === this.#readStamp) return;
      this.reload(phase()).then(
        () => logger.info('the filter rules were read again', { path }),
        (error: unknown) => {
          logger.error('the filter rules stay as they were', { path, error: describeError(error) });
        },
      );
    }, everyMs);
    this.#watcher.unref();
  }

  close(): void {
    clearInterval(this.#watcher);
  }
}
