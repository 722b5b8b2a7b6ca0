import { z } from 'zod';
import type { Reloaded } from '#adapters/watched-files.ts';
import type { MetricFamily } from './metric-family.ts';
import type { ProxyStatus } from './status.ts';

export const phaseRequestSchema = z.strictObject({
  phase: z.string().min(1).max(40),
  why: z.string().max(1000).default(''),
  by: z.string().min(1).max(200).default('admin-api'),
  force: z
    .array(z.string().min(1).max(400), {
      error: 'must be the list of codes of the gates that are closed, as the refusal names them',
    })
    .max(10_000)
    .default([]),
  abandonFiltered: z.boolean().default(false),
  fence: z.array(z.string().max(200)).max(1000).default([]),
  drainTimeoutMs: z.int().min(1).max(600_000).default(15_000),
});
export type PhaseRequest = z.output<typeof phaseRequestSchema>;

/** What the admin API shows and changes: one proxy, or all processes of a host as if they were one. */
export interface AdminSubject {
  status(): Promise<ProxyStatus>;
  metrics(): Promise<readonly MetricFamily[]>;
  readPhase(): Promise<unknown>;
  /** @throws GateClosedError, UsageError */
  changePhase(request: PhaseRequest): Promise<unknown>;
  filters(): Promise<unknown>;
  /** @throws ConfigError, UsageError; then the old rules stay in force */
  reloadFilters(): Promise<unknown>;
  /** Looks at all certificates and bundles now. @throws UsageError naming those that stay as they were */
  reloadCertificates(): Promise<readonly Reloaded[]>;
}
