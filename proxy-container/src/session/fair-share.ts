import type { Route } from '../requests/route.ts';
import { DEFAULT_STREAM_IDS } from '../transport/stream-ids.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import type { SessionUpstreams } from './session-upstreams.ts';

/** Everybody may have as many under way. */
export const SMALL_SHARE = 16;

/**
 * Whether a client with so many requests under way (at least `SMALL_SHARE`) has its share of the stream ids: as many as
 * are still free. So one that floods the proxy gets half of them, two get a third each, and who comes next finds as many
 * as each of them has.
 * @param connections those that its requests go over; none yet: whoever waits for them takes no id
 * @see "Dynamic queue length thresholds", Choudhury and Hahne, 1998
 */
export function hasItsShare(inFlight: number, connections: readonly UpstreamConnection[]): boolean {
  if (connections.length === 0) return inFlight >= DEFAULT_STREAM_IDS;
  let free = 0;
  for (const { inFlightCount } of connections) free += DEFAULT_STREAM_IDS - inFlightCount;
  return inFlight >= free;
}

/** The same for the requests of a client, at each cluster for whose answers it waits. */
export function hasItsShareOf(inFlight: number, upstreams: SessionUpstreams, route: Route | undefined): boolean {
  if (route === undefined) return false;
  const { primary, shadow, isSync } = route;
  if (hasItsShare(inFlight, upstreams.pool(primary).connections)) return true;
  return isSync && shadow !== undefined && hasItsShare(inFlight, upstreams.forShadow.pool(shadow).connections);
}
