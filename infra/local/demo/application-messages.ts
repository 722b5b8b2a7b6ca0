/** What the demo and its live application say to each other. */
export type ToApplication = { readonly kind: 'phase'; readonly phase: string } | { readonly kind: 'stop' };

export interface PhaseLatency {
  readonly phase: string;
  readonly operations: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface ApplicationReport {
  readonly kind: 'report';
  readonly final: boolean;
  readonly writes: number;
  readonly reads: number;
  /** Reads whose answer was compared with what had been written. */
  readonly checks: number;
  readonly errors: number;
  /** The first few errors, in words. */
  readonly errorTexts: readonly string[];
  readonly latencies: readonly PhaseLatency[];
}
