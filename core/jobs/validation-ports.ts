/** What comparing and reconciling take, and how both clusters are read for it. */

import type { ComparedTable } from '../checksum/compared-table.ts';
import { excludedRows } from '../checksum/excluded-rows.ts';
import type { TableReader } from '../checksum/read-table.ts';
import type { Filter } from '../filter/filter.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { Consistency } from '../model/cql-request.ts';
import type { Clock, CqlSession, Logger, ObjectStore } from '../ports.ts';

const DEFAULT_PAGE_SIZE = 1000;

/** What a validation job needs of the world. */
export interface ValidationPorts {
  readonly origin: CqlSession;
  readonly target: CqlSession;
  readonly objects: ObjectStore;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Resolves after so many milliseconds, or rejects when the signal fires. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface ValidationOptions {
  readonly originConsistency: Consistency;
  readonly targetConsistency: Consistency;
  readonly filter: Filter;
  /** How long a write needs to reach both clusters, at most. */
  readonly settleMs: number;
  readonly pageSize?: number;
  /** What this range may read of the origin; see `originBytesPerSecond`. undefined: as much as it can. */
  readonly originBytesPerSecond?: number;
  /** When to stop at the next partition and return a checkpoint. Milliseconds since the epoch. */
  readonly deadlineMillis?: number;
}

/** The tables' readers of both clusters, as validation and reconciliation need them. */
export function openReaders(
  table: ComparedTable,
  ports: Pick<ValidationPorts, ClusterName | 'clock'>,
  options: Pick<ValidationOptions, 'originConsistency' | 'targetConsistency' | 'filter' | 'pageSize'>,
): { readonly origin: TableReader; readonly target: TableReader } {
  const isExcluded = excludedRows(table, options.filter);
  const common = {
    pageSize: options.pageSize ?? DEFAULT_PAGE_SIZE,
    clock: ports.clock,
    ...(isExcluded ? { isExcluded } : {}),
  };
  return {
    origin: { session: ports.origin, consistency: options.originConsistency, ...common },
    target: { session: ports.target, consistency: options.targetConsistency, ...common },
  };
}
