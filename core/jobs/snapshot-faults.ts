/** What a snapshot lacks by its own manifests (nodes of the ring, tables, SSTables, components), and what lies beside it. */

import { Component } from '../sstable/sstable-name.ts';
import { type ListedSSTable, parseComponentPlace, type SnapshotListing } from './snapshot-listing.ts';
import type { SnapshotManifest } from './snapshot-manifest.ts';

export interface SnapshotFault {
  /**
   * What is missing (`damage`: nothing is, but what is there is not what was written; `extra`: there is more than one
   * snapshot, and it would be loaded too).
   */
  readonly kind: 'node' | 'manifest' | 'table' | 'sstable' | 'component' | 'coverage' | 'damage' | 'extra';
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
  faults.push(...findSharedPlaces(manifests));
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

/** A node that is there twice, or a token of two nodes: the manifests are of different times of the ring. */
function findSharedPlaces(manifests: readonly SnapshotManifest[]): SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  const hosts = new Map<string, string>();
  const owners = new Map<string, string>();
  for (const { node, hostId, tokens } of manifests) {
    const twin = hosts.get(hostId);
    const shared = tokens.find((token) => owners.has(token));
    if (twin !== undefined) {
      const message = `${twin} and ${node} are one and the same node (host id ${hostId}); keep the later one`;
      faults.push({ kind: 'coverage', where: node, message });
    } else if (shared !== undefined) {
      const message = `${owners.get(shared)} and ${node} both own the token ${shared}: the ring changed between their snapshots; take all of them anew`;
      faults.push({ kind: 'coverage', where: node, message });
    }
    hosts.set(hostId, node);
    for (const token of tokens) owners.set(token, node);
  }
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

function missingFile(key: string): SnapshotFault {
  return {
    kind: 'component',
    where: key,
    message: `${key} is missing; run snapshot upload of ${key.split('/')[0]} again`,
  };
}

/** Two snapshots, or two tables of one name: what one of them has deleted would come back from the other. */
export function findAmbiguous({ sstables }: SnapshotListing): SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  for (const [where, tags] of setsOf(sstables, ({ node, keyspace, table }) => `${node}/${keyspace}/${table}`, 'tag')) {
    if (tags.size < 2) continue;
    const names = [...tags].map((tag) => tag || 'live files').join(', ');
    const message = `${where} holds several snapshots (${names}); keep one under each prefix`;
    faults.push({ kind: 'extra', where, message });
  }
  for (const [where, ids] of setsOf(sstables, ({ keyspace, table }) => `${keyspace}.${table}`, 'tableId')) {
    if (ids.size < 2) continue;
    const names = [...ids].map((id) => `${where.slice(where.indexOf('.') + 1)}-${id}`).join(', ');
    const message = `there are two tables named ${where}, one of them dropped: ${names}; remove the folders of the dropped one (system_schema.tables has the id of the other)`;
    faults.push({ kind: 'extra', where, message });
  }
  return faults;
}

function setsOf(
  sstables: readonly ListedSSTable[],
  keyOf: (place: ListedSSTable['place']) => string,
  what: 'tag' | 'tableId',
): Map<string, Set<string>> {
  const sets = new Map<string, Set<string>>();
  for (const { place } of sstables) {
    const key = keyOf(place);
    sets.set(key, (sets.get(key) ?? new Set()).add(place[what] ?? ''));
  }
  return sets;
}

/**
 * SSTables that a manifest of their node does not name: left over from an earlier upload, they may hold live cells whose
 * tombstones have been purged since.
 */
export function findUnlisted(manifests: readonly SnapshotManifest[], { sstables }: SnapshotListing): SnapshotFault[] {
  const named = new Map(manifests.map(({ node, components }) => [node, new Set(components.map(({ key }) => key))]));
  return sstables.flatMap(({ where, place: { node } }): SnapshotFault[] => {
    const own = named.get(node);
    if (own === undefined || own.has(`${where.slice(node.length + 1)}-${Component.Data}`)) return [];
    const message = `the SSTable ${where} is not in the manifest of ${node}, so it is of another upload and may hold what was deleted since; remove its files, or upload the snapshot of ${node} anew to an empty prefix`;
    return [{ kind: 'extra', where, message }];
  });
}

/** What reading needs, whatever a manifest says. */
export function findMissingComponents({ where, components }: ListedSSTable): SnapshotFault[] {
  const has = (component: string) => components[component] !== undefined;
  const missing: string[] = [Component.Data, Component.Statistics].filter((component) => !has(component));
  if (!has(Component.CompressionInfo) && !has(Component.Crc)) missing.push(Component.CompressionInfo);
  if (!has(Component.Index) && !has(Component.Partitions)) missing.push(Component.Index);
  return missing.map((component) => missingFile(`${where}-${component}`));
}
