import {
  type DoneOperation,
  type LedgerOperation,
  type LedgerOutcome,
  ledgerOperations,
  ledgerOutcomes,
} from '#core/ledger/observed-store.ts';
import { LatencyHistogram } from './latency.ts';

/** What is counted of the ledger's operations. */
export class LedgerCounters {
  readonly #counts = new Map<string, number>();
  readonly #latencies: ReadonlyMap<LedgerOperation, LatencyHistogram> = new Map(
    ledgerOperations.map((operation) => [operation, new LatencyHistogram()]),
  );

  add({ operation, outcome, durationMs }: DoneOperation): void {
    const name = `${operation} ${outcome}`;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    this.#latencies.get(operation)?.observe(durationMs);
  }

  /** How often each operation ended so. */
  get outcomes(): { operation: LedgerOperation; outcome: LedgerOutcome; count: number }[] {
    return ledgerOperations.flatMap((operation) =>
      ledgerOutcomes.map((outcome) => ({
        operation,
        outcome,
        count: this.#counts.get(`${operation} ${outcome}`) ?? 0,
      })),
    );
  }

  /** How long they took. */
  get latencies(): Iterable<readonly [LedgerOperation, LatencyHistogram]> {
    return this.#latencies;
  }

  get conflicts(): number {
    return this.outcomes.reduce((sum, { outcome, count }) => (outcome === 'conflict' ? sum + count : sum), 0);
  }
}
