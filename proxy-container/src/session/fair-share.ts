import { DEFAULT_STREAM_IDS } from '../transport/stream-ids.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';

/** Everybody may have as many under way. */
export const SMALL_SHARE = 16;

/**
 * Whether a client with so many requests under way (at least `SMALL_SHARE`) has its share of the stream ids: as many as are still free. So one that
 * floods the proxy gets half of them, two get a third each, and who comes next finds as many as each of them has.
 * @param connections those that its requests go over; none yet: whoever waits for them takes no id
 * @see "Dynamic queue length thresholds", Choudhury and Hahne, 1998
 */
export function hasItsShare(inFlight: number, connections: readonly UpstreamConnection[]): boolean {
  if (connections.length === 0) return inFlight >= DEFAULT_STREAM_IDS;
  let free = 0;
  for (const { inFlightCount } of connections) free += DEFAULT_STREAM_IDS - inFlightCount;
  return inFlight >= free;
}
