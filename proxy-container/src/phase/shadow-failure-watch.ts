import type { Phase } from '#core/config/schema.ts';
import { shadowOf } from '#core/ledger/phase-change.ts';
import type { ShadowFailures } from '#core/ledger/shadow-failures.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';

/** When copies failed, told from a counter that somebody looks at now and then: at the latest when they did. */
export class ShadowFailureWatch {
  #seen = 0;
  #shadow: ClusterName | undefined;
  #last: ShadowFailures = {};

  /**
   * @param failed copies that did not arrive, since the start
   * @param phase in force; copies of the one before may still fail in one without a shadow
   */
  look(failed: number, phase: Phase | undefined, now: Date): ShadowFailures {
    const shadow = (phase && shadowOf(phase)) ?? this.#shadow;
    if (failed > this.#seen && shadow) this.#last = { ...this.#last, [shadow]: now.toISOString() };
    this.#seen = failed;
    this.#shadow = shadow;
    return this.#last;
  }
}
