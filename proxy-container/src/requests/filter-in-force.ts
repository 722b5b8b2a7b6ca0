import { readYamlFile } from '#adapters/config-file.ts';
import type { Phase } from '#core/config/schema.ts';
import { UsageError } from '#core/errors.ts';
import { createFilter, type Filter } from '#core/filter/filter.ts';
import { type FilterRules, filterRulesSchema, NO_FILTER_RULES } from '#core/filter/filter-rules.ts';

/** The filter rules that decide now, and their file. */
export class FilterInForce {
  readonly #path: string | null;
  #rules: FilterRules = NO_FILTER_RULES;
  #filter: Filter = createFilter(NO_FILTER_RULES);

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

  /**
   * Reads them again.
   * @param phase undefined: none is in force yet
   * @throws ConfigError, UsageError; then the old rules stay in force
   */
  async reload(phase: Phase | undefined): Promise<FilterRules> {
    const path = this.#path;
    const rules = path === null ? NO_FILTER_RULES : await readYamlFile(filterRulesSchema, path, 'the filter rules');
    const filter = createFilter(rules);
    if (phase === 'target-only' && !filter.isEmpty) {
      throw new UsageError('in target-only there is no cluster to keep filtered data; the rules stay as they were');
    }
    this.#rules = rules;
    this.#filter = filter;
    return rules;
  }
}
