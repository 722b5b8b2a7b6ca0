/** What a snapshot lacks by its own manifests: nodes of the ring, tables, SSTables, components. */

import { parseComponentPlace, type SnapshotManifest } from './snapshot-layout.ts';

export interface SnapshotFault {
  /** What is missing (`damage`: nothing is, but what is there is not what was written). */
  readonly kind: 'node' | 'manifest' | 'table' | 'sstable' | 'component' | 'coverage' | 'damage';
  /** The node's folder, or the object's key; below the prefix. */
  readonly where: string;
  readonly message: string;
}

/** The ring as its nodes saw it, against the nodes that are there. */
export function findMissingNodes(manifests: readonly SnapshotManifest[], replicationFactor?: number): SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  for (const { node, ring, tokens } of manifests) {
    if (ring.length === 0) {
      faults.push({
        kind: 'coverage',
        where: node,
        message: `the manifest of ${node} does not say which nodes the ring has; ship it again with --contact-point or --nodetool-status`,
      });
    }
    if (tokens.length === 0) {
      faults.push({ kind: 'coverage', where: node, message: `the manifest of ${node} names no token of it` });
    }
  }
  const present = new Set(manifests.map(({ hostId }) => hostId));
  const ring = new Set(manifests.flatMap((manifest) => manifest.ring));
  const missing = [...ring].filter((host) => !present.has(host)).sort();
  for (const host of missing) {
    faults.push({
      kind: 'node',
      where: host,
      message: `the node with host id ${host} is in the ring, but not here; ship its snapshot too`,
    });
  }
  if (missing.length > 0) faults.push(coverageWithout(missing.length, ring.size, replicationFactor));
  return faults;
}

/** Where the tokens of absent nodes lie is not known: what can be said holds for every place. */
function coverageWithout(missing: number, ringSize: number, replicationFactor?: number): SnapshotFault {
  const what = `${missing} of ${ringSize} nodes are missing`;
  if (replicationFactor === undefined) {
    return {
      kind: 'coverage',
      where: 'ring',
      message: `${what}; with a replication factor up to ${missing} some token ranges may have no replica at all (tell it with --rf)`,
    };
  }
  const left = replicationFactor - missing;
  const cost =
    left > 0
      ? `every token range has at least ${left} of its ${replicationFactor} replicas, but writes that only the missing ones hold are not here`
      : `with a replication factor of ${replicationFactor} token ranges may have no replica at all`;
  return { kind: 'coverage', where: 'ring', message: `${what}: ${cost}` };
}

export function findMissingTables(
  manifests: readonly SnapshotManifest[],
  isWanted: (keyspace: string) => boolean,
): SnapshotFault[] {
  const names = ({ tables }: SnapshotManifest) => tables.map(({ keyspace, table }) => `${keyspace}.${table}`);
  const all = new Set(manifests.flatMap(names));
  return manifests.flatMap((manifest) => {
    const own = new Set(names(manifest));
    return [...all]
      .filter((table) => !own.has(table) && isWanted(table.split('.')[0]!))
      .map(
        (table): SnapshotFault => ({
          kind: 'table',
          where: manifest.node,
          message: `the snapshot of ${manifest.node} has no table ${table}, which another node has; take it anew`,
        }),
      );
  });
}

/** Against the manifest; an SSTable of which nothing is there is one fault. */
export function findMissingFiles(
  manifest: SnapshotManifest,
  sizes: ReadonlyMap<string, number>,
  isWanted: (keyspace: string) => boolean,
): SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  const absent = new Map<string, string[]>();
  const present = new Set<string>();
  for (const { key: relative, byteLength } of manifest.components) {
    const key = `${manifest.node}/${relative}`;
    const place = parseComponentPlace(key);
    if (place === undefined || !isWanted(place.keyspace)) continue;
    const group = key.slice(0, key.lastIndexOf('-'));
    const found = sizes.get(key);
    if (found === undefined) absent.set(group, [...(absent.get(group) ?? []), key]);
    else present.add(group);
    if (found !== undefined && found !== byteLength) {
      faults.push({
        kind: 'damage',
        where: key,
        message: `${key} has ${found} bytes instead of ${byteLength}; run snapshot upload of ${manifest.node} again`,
      });
    }
  }
  for (const [group, keys] of absent) {
    if (present.has(group)) faults.push(...keys.map(missingFile));
    else
      faults.push({
        kind: 'sstable',
        where: group,
        message: `the SSTable ${group} is missing, which the manifest of ${manifest.node} names; run snapshot upload again`,
      });
  }
  return faults;
}

export function missingFile(key: string): SnapshotFault {
  return {
    kind: 'component',
    where: key,
    message: `${key} is missing; run snapshot upload of ${key.split('/')[0]} again`,
  };
}
