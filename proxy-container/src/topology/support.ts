import { MAX_PROTOCOL_VERSION, MIN_PROTOCOL_VERSION } from '#core/cql/protocol.ts';
import type { ClusterOffer } from '#core/ledger/records.ts';
import type { Support } from '../proxy-services.ts';
import type { ClusterFacts } from '../upstream/cluster-facts.ts';

/** What every cluster of today speaks. */
const COMMON_VERSION = 4;
/** What the proxy itself does; v5 has the first only. */
const COMPRESSIONS = ['lz4', 'snappy'];

/** What a cluster that is connected offers to drivers. */
export function offerOf({ maxVersion, supported }: ClusterFacts): ClusterOffer {
  const compressions = supported.get('COMPRESSION');
  return {
    maxVersion,
    cqlVersions: [...(supported.get('CQL_VERSION') ?? [])],
    compressions: compressions ? compressions.map((name) => name.toLowerCase()) : null,
  };
}

/**
 * What drivers are offered: protocol versions and compressions that both clusters have, since a session must survive
 * the change of clusters; nothing by which a driver would choose shards or nodes.
 * @param offers of each cluster; undefined: nothing was ever known of it, so that it may be one without v5
 */
export function supportOf(offers: readonly (ClusterOffer | undefined)[]): Support {
  const known = offers.filter((one) => one !== undefined);
  const unknown = known.length < offers.length ? COMMON_VERSION : MAX_PROTOCOL_VERSION;
  const maxVersion = Math.min(MAX_PROTOCOL_VERSION, unknown, ...known.map((one) => one.maxVersion));
  const versions: string[] = [];
  for (let version = MIN_PROTOCOL_VERSION; version <= maxVersion; version++) versions.push(`${version}/v${version}`);
  const [first = ['3.4.5'], ...others] = known.map((one) => one.cqlVersions).filter((list) => list.length > 0);
  const common = first.filter((version) => others.every((list) => list.includes(version)));
  return {
    maxVersion,
    options: new Map([
      ['CQL_VERSION', common.length > 0 ? common : [lowest([...first, ...others.flat()])]],
      ['COMPRESSION', COMPRESSIONS.filter((name) => known.every((one) => one.compressions?.includes(name) ?? true))],
      ['PROTOCOL_VERSIONS', versions],
    ]),
  };
}

/** Of versions like 3.4.7; drivers ask for one of those offered, and clusters take any up to their own. */
function lowest(versions: readonly string[]): string {
  const rank = (version: string): number =>
    version.split('.').reduce((sum, part) => sum * 1000 + Number.parseInt(part, 10), 0);
  return versions.toSorted((a, b) => rank(a) - rank(b))[0] ?? '3.4.5';
}
