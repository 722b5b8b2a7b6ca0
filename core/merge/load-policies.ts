/** Which cells and deletions a load carries over while both clusters are written. */

// Clocks of proxies and drivers differ by less, else the proxy is not ready (proxy.clocks.maxSkewMs).
const SKEW_MICROS = 1_000_000n;
// A request that was sent before every proxy wrote to both clusters may carry its driver's time, and take this long.
const REQUEST_MICROS = 10_000_000n;

/**
 * Which list cells may or may not have been shadowed: neither to load nor to skip them is right, so their table must be
 * compared afterwards.
 * @param settledMicros when every proxy was seen in the dual writes; undefined: never, so there is no end
 */
export function unclearListTimes(
  sinceMicros: bigint | undefined,
  settledMicros: bigint | undefined,
): (timestampMicros: bigint) => boolean {
  if (sinceMicros === undefined) return () => false;
  const start = sinceMicros - SKEW_MICROS;
  const end = settledMicros === undefined ? undefined : settledMicros + REQUEST_MICROS;
  return (timestampMicros) => timestampMicros >= start && (end === undefined || timestampMicros <= end);
}

/**
 * Which deletions go to the target. After a merge of all replicas a tombstone shadows nothing in an empty target;
 * `recent` keeps those that a late shadow write of an older time might meet.
 * @param dualWritesSinceMicros undefined when there are no dual writes: `recent` then keeps all
 */
export function tombstonePolicy(
  option: 'none' | 'recent' | 'all',
  dualWritesSinceMicros: bigint | undefined,
  marginMicros = 3_600_000_000n,
): (timestampMicros: bigint) => boolean {
  if (option === 'none') return () => false;
  if (option === 'all' || dualWritesSinceMicros === undefined) return () => true;
  const oldest = dualWritesSinceMicros - marginMicros;
  return (timestampMicros) => timestampMicros >= oldest;
}
