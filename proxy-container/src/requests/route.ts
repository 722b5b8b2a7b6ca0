import type { Phase } from '#core/config/schema.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Statement } from '#core/statement/statement.ts';

/**
 * What a request is to the proxy. `lwt` and `definition` are not copied like a write: the one is decided by the
 * cluster that answers, the other changes the schema of both in order.
 */
export type RequestClass = 'read' | 'write' | 'lwt' | 'definition' | 'role';

export function classOf(statement: Statement): RequestClass {
  if (statement.isRead) return 'read';
  switch (statement.kind) {
    case 'insert':
    case 'update':
    case 'delete':
    case 'batch':
      return statement.isLwt ? 'lwt' : 'write';
    case 'role':
      return 'role';
    default:
      return 'definition';
  }
}

/** What changes rows, and so goes to both clusters. */
export function isMutation(requestClass: RequestClass): boolean {
  return requestClass === 'write' || requestClass === 'lwt';
}

/** Where a request goes. Without a shadow only the primary takes part. */
export interface Route {
  readonly primary: ClusterName;
  readonly shadow: ClusterName | undefined;
  /** `sync`: both at once, and both must answer. `async`: the shadow leaves when the primary's outcome is known. */
  readonly isSync: boolean;
}

/** A route of a phase in which both clusters take part. */
export interface DualRoute extends Route {
  readonly shadow: ClusterName;
}

export function hasShadow(route: Route): route is DualRoute {
  return route.shadow !== undefined;
}

const ORIGIN_ALONE: Route = { primary: 'origin', shadow: undefined, isSync: false };

/** The routes of a phase, made once. */
const ROUTES: Readonly<Record<Phase, Route>> = {
  'origin-only': ORIGIN_ALONE,
  'dual-async': routeOfPhase('dual-async'),
  'dual-sync': routeOfPhase('dual-sync'),
  'target-primary': routeOfPhase('target-primary'),
  'target-only': routeOfPhase('target-only'),
};

function routeOfPhase(phase: Phase): Route {
  return { primary: primaryOf(phase), shadow: shadowOf(phase), isSync: phase === 'dual-sync' };
}

/**
 * What a filter excludes belongs to the origin in every phase, reads and writes. undefined: in `target-only` it has no
 * place any more, because nothing goes to the origin then.
 */
export function routeOf(phase: Phase, isExcluded: boolean): Route | undefined {
  if (!isExcluded) return ROUTES[phase];
  return phase === 'target-only' ? undefined : ORIGIN_ALONE;
}
