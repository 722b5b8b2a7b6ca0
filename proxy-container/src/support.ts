import { MAX_PROTOCOL_VERSION, MIN_PROTOCOL_VERSION } from '#core/cql/protocol.ts';
import type { Support } from './proxy-services.ts';
import type { ClusterFacts } from './upstream/control-connection.ts';

/**
 * What drivers are offered: protocol versions that every known cluster speaks, since a session must survive the change
 * of clusters; compressions that the proxy itself does; nothing by which a driver would choose shards or nodes.
 */
export function supportOf(facts: readonly (ClusterFacts | undefined)[]): Support {
  const known = facts.filter((one) => one !== undefined);
  const maxVersion = Math.min(MAX_PROTOCOL_VERSION, ...known.map((one) => one.maxVersion));
  const versions: string[] = [];
  for (let version = MIN_PROTOCOL_VERSION; version <= maxVersion; version++) versions.push(`${version}/v${version}`);
  const cqlVersions = known.map((one) => one.supported.get('CQL_VERSION') ?? []);
  const [first = ['3.4.5'], ...others] = cqlVersions;
  const common = first.filter((version) => others.every((list) => list.includes(version)));
  return {
    maxVersion,
    options: new Map([
      ['CQL_VERSION', common.length > 0 ? common : [lowest([...first, ...others.flat()])]],
      ['COMPRESSION', ['lz4', 'snappy']],
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
