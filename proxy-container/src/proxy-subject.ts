import type { Reloaded } from '#adapters/watched-files.ts';
import type { Phase } from '#core/config/schema.ts';
import { UsageError } from '#core/errors.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import type { GateSources } from '#core/jobs/gate-facts.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { parsePhase } from '#core/ledger/phase-names.ts';
import type { Logger } from '#core/ports.ts';
import type { AdminSubject, PhaseRequest } from './admin/admin-subject.ts';
import { collectMetrics } from './admin/metrics.ts';
import type { RuntimeWatch } from './admin/runtime-watch.ts';
import type { ProxyStatus } from './admin/status.ts';
import type { Counters } from './counters/counters.ts';
import type { PhaseWatch } from './phase/phase-watch.ts';
import type { FilterInForce } from './requests/filter-in-force.ts';

export interface ProxySubjectOptions {
  readonly ledger: Ledger;
  readonly watch: PhaseWatch;
  readonly filter: FilterInForce;
  /** What the gates of a change of phase ask, beside the ledger and the filter. */
  readonly gates: Omit<GateSources, 'filter'>;
  readonly logger: Logger;
  readonly counters: Counters;
  readonly runtime: RuntimeWatch;
  /** Of metrics by the names of zdm-proxy; null: there are none. */
  readonly zdmPrefix: string | null;
  readonly status: () => ProxyStatus;
  /** Looks at all certificates and bundles. */
  readonly reloadCertificates: () => readonly Reloaded[];
  /** The phase in force; undefined: there is none yet. */
  readonly phase: () => Phase | undefined;
}

/** What the admin API shows and changes of one proxy. */
export function subjectOf(options: ProxySubjectOptions): AdminSubject {
  const { watch, filter, counters, runtime, zdmPrefix, status, phase } = options;
  return {
    status: async () => status(),
    metrics: async () => collectMetrics({ counters, runtime, zdmPrefix, status }),
    readPhase: async () => watch.record ?? null,
    changePhase: (request) => change(request, options),
    filters: async () => filter.rules,
    reloadFilters: () => filter.reload(phase()),
    reloadCertificates: async () => withoutFaults(options.reloadCertificates()),
  };
}

/** @throws UsageError naming what stays as it was; the others are in force */
function withoutFaults(reloaded: readonly Reloaded[]): readonly Reloaded[] {
  const faults = reloaded.flatMap(({ fault }) => (fault === undefined ? [] : [fault]));
  if (faults.length > 0) throw new UsageError(`${faults.join('; ')}; what was in force stays`);
  return reloaded;
}

function change(request: PhaseRequest, { ledger, gates, filter, logger }: ProxySubjectOptions): Promise<unknown> {
  return changePhase(
    { ...request, phase: parsePhase(request.phase), withoutProxies: false },
    {
      ledger,
      gates: { ...gates, filter: filter.filter },
      logger,
      now: () => new Date(),
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      onWait: () => undefined,
    },
  );
}
