/** What a snapshot in an object store consists of, and whether it is whole, covers the ring and is young enough. */

import { z } from 'zod';
import { SnapshotIncompleteError, SnapshotTooOldError, UsageError } from '../errors.ts';
import type { PhaseRecord } from '../ledger/records.ts';
import type { ObjectStore } from '../ports.ts';
import type { SSTableFiles } from '../sstable/sstable-files.ts';
import { Component, parseSSTableName } from '../sstable/sstable-name.ts';

/** Name of a node's manifest, in the node's folder. */
export const MANIFEST_NAME = 'ringshift-manifest.json';

/** `<prefix>/<node>/ringshift-manifest.json`, written last by `snapshot upload`: what must be there. */
export const snapshotManifestSchema = z.strictObject({
  version: z.literal(1),
  node: z.string().min(1),
  hostId: z.string().min(1),
  datacenter: z.string(),
  rack: z.string(),
  /** Decimal texts. */
  tokens: z.array(z.string().regex(/^-?\d{1,19}$/)),
  /** All nodes of the ring as that node saw them, so that a missing node is noticed. */
  ring: z.array(z.string()).default([]),
  tag: z.string(),
  /** When nodetool took it; null when the snapshot does not say. */
  takenAt: z.iso.datetime().nullable(),
  tables: z.array(
    z.strictObject({
      keyspace: z.string(),
      table: z.string(),
      /** Columns that were dropped: cells of an earlier write time are dead if the column exists again. */
      droppedColumns: z.array(z.strictObject({ name: z.string(), droppedAtMicros: z.string().regex(/^-?\d+$/) })),
    }),
  ),
  /** Keys relative to the node's folder. */
  components: z.array(
    z.strictObject({ key: z.string().min(1), byteLength: z.int().min(0), crc32: z.int().min(0).max(0xffffffff) }),
  ),
});
export type SnapshotManifest = z.output<typeof snapshotManifestSchema>;

/** One SSTable of a snapshot: where its components are and how long they are. */
export interface SnapshotSSTable {
  readonly node: string;
  /** Key up to and including `nb-1-big`. */
  readonly key: string;
  readonly version: string;
  /** Component name → bytes. */
  readonly components: Readonly<Record<string, number>>;
}

export interface SnapshotTable {
  readonly keyspace: string;
  readonly table: string;
  readonly sstables: readonly SnapshotSSTable[];
}

export interface Snapshot {
  readonly tables: readonly SnapshotTable[];
  /** Nodes that have a folder. */
  readonly nodes: readonly string[];
  readonly manifests: readonly SnapshotManifest[];
}

/** Where a component stands: `<node>/<keyspace>/<table>-<32 hex>/[snapshots/<tag>/]<component>`, after the prefix. */
export interface ComponentPlace {
  readonly node: string;
  readonly keyspace: string;
  readonly table: string;
  /** 32 hex digits; a table that was dropped and made again has another one. */
  readonly tableId: string;
  readonly tag?: string;
  readonly file: string;
}

const PLACE = /^([^/]+)\/(\w+)\/(\w+)-([0-9a-f]{32})\/(?:snapshots\/([^/]+)\/)?([^/]+)$/;

/** Splits a key relative to the prefix; undefined for what is no file of a table (secondary indexes, backups, logs). */
export function parseComponentPlace(relativeKey: string): ComponentPlace | undefined {
  const match = PLACE.exec(relativeKey);
  if (match === null) return undefined;
  const [, node, keyspace, table, tableId, tag, file] = match;
  return { node: node!, keyspace: keyspace!, table: table!, tableId: tableId!, tag, file: file! };
}

/**
 * Lists one keyspace of a snapshot and reads the nodes' manifests.
 * @param prefix without a trailing '/'
 * @throws SnapshotIncompleteError naming the component that is missing or has another size than its manifest says
 */
export async function readSnapshot(
  objects: ObjectStore,
  prefix: string,
  keyspace: string,
  signal?: AbortSignal,
): Promise<Snapshot> {
  const base = prefix === '' ? '' : `${prefix}/`;
  const sizes = new Map<string, number>();
  for await (const { key, byteLength } of objects.list(base, signal)) sizes.set(key.slice(base.length), byteLength);
  const nodes = new Set<string>();
  const tags = new Map<string, Set<string>>();
  const tableIds = new Map<string, Set<string>>();
  const groups = new Map<string, { place: ComponentPlace; version: string; components: Record<string, number> }>();
  for (const [key, byteLength] of sizes) {
    if (/^[^/]+\/ringshift-manifest\.json$/.test(key)) nodes.add(key.slice(0, key.indexOf('/')));
    const place = parseComponentPlace(key);
    if (place === undefined || place.keyspace !== keyspace) continue;
    nodes.add(place.node);
    const name = parseSSTableName(place.file);
    if (name === undefined) continue;
    const table = `${place.node}/${place.table}`;
    tags.set(table, (tags.get(table) ?? new Set()).add(place.tag ?? ''));
    tableIds.set(place.table, (tableIds.get(place.table) ?? new Set()).add(place.tableId));
    const group = key.slice(0, key.length - place.file.length) + name.base;
    const known = groups.get(group) ?? { place, version: name.version, components: {} };
    known.components[name.component] = byteLength;
    groups.set(group, known);
  }
  for (const [table, found] of tags) {
    if (found.size > 1) {
      throw new UsageError(
        `${objects.name}/${base} holds several snapshots of ${keyspace} (${table}: ${[...found].map((tag) => tag || 'live files').join(', ')}); keep one under each prefix`,
      );
    }
  }
  // Loading both would bring back what the dropped table held.
  for (const [table, found] of tableIds) {
    if (found.size > 1) {
      throw new UsageError(
        `${objects.name}/${base} holds two tables named ${keyspace}.${table}, one of them dropped: ${[...found].map((id) => `${table}-${id}`).join(', ')}; remove the folders of the dropped one (system_schema.tables has the id of the other)`,
      );
    }
  }
  const manifests = await readManifests(objects, base, nodes, signal);
  checkAgainstManifests(objects, base, manifests, sizes, keyspace);
  const tables = new Map<string, SnapshotSSTable[]>();
  for (const [group, { place, version, components }] of groups) {
    requireComponents(`${objects.name}/${base}${group}`, components);
    const known = tables.get(place.table) ?? [];
    known.push({ node: place.node, key: base + group, version, components });
    tables.set(place.table, known);
  }
  return {
    tables: [...tables].sort().map(([table, sstables]) => ({ keyspace, table, sstables })),
    nodes: [...nodes].sort(),
    manifests,
  };
}

async function readManifests(
  objects: ObjectStore,
  base: string,
  nodes: ReadonlySet<string>,
  signal?: AbortSignal,
): Promise<SnapshotManifest[]> {
  const manifests: SnapshotManifest[] = [];
  for (const node of nodes) {
    const key = `${base}${node}/${MANIFEST_NAME}`;
    const body = await objects.get(key, signal);
    if (body !== undefined) manifests.push(parseManifest(body, `${objects.name}/${key}`));
  }
  return manifests;
}

/** @throws SnapshotIncompleteError when the text is no manifest */
export function parseManifest(body: Uint8Array, name: string): SnapshotManifest {
  try {
    return snapshotManifestSchema.parse(JSON.parse(new TextDecoder().decode(body)));
  } catch (cause) {
    throw new SnapshotIncompleteError(`${name} is no manifest of this release; run snapshot upload again`, {
      cause,
      context: { file: name },
    });
  }
}

function checkAgainstManifests(
  objects: ObjectStore,
  base: string,
  manifests: readonly SnapshotManifest[],
  sizes: ReadonlyMap<string, number>,
  keyspace: string,
): void {
  for (const manifest of manifests) {
    for (const component of manifest.components) {
      const key = `${manifest.node}/${component.key}`;
      if (parseComponentPlace(key)?.keyspace !== keyspace) continue;
      const found = sizes.get(key);
      if (found === component.byteLength) continue;
      const what = found === undefined ? 'is missing' : `has ${found} bytes instead of ${component.byteLength}`;
      throw new SnapshotIncompleteError(
        `${objects.name}/${base}${key} ${what}; run snapshot upload of ${manifest.node} again`,
        { context: { file: `${objects.name}/${base}${key}` } },
      );
    }
  }
}

function requireComponents(name: string, components: Readonly<Record<string, number>>): void {
  const has = (component: string) => components[component] !== undefined;
  const missing: string[] = [Component.Data, Component.Statistics].filter((component) => !has(component));
  if (!has(Component.CompressionInfo) && !has(Component.Crc)) missing.push(Component.CompressionInfo);
  if (!has(Component.Index) && !has(Component.Partitions)) missing.push(Component.Index);
  if (missing.length === 0) return;
  throw new SnapshotIncompleteError(`${name}-${missing[0]} is missing; ship the snapshot of that node again`, {
    context: { file: `${name}-${missing[0]}`, missing },
  });
}

/** The components of one SSTable, as the reader wants them. */
export function snapshotFiles(objects: ObjectStore, sstable: SnapshotSSTable): SSTableFiles {
  return {
    name: `${objects.name}/${sstable.key}`,
    version: sstable.version,
    async open(component) {
      const byteLength = sstable.components[component];
      if (byteLength === undefined) {
        throw new SnapshotIncompleteError(`${objects.name}/${sstable.key}-${component} is missing`, {
          context: { file: `${objects.name}/${sstable.key}-${component}` },
        });
      }
      return objects.open(`${sstable.key}-${component}`, byteLength);
    },
  };
}

/**
 * Refuses a snapshot that does not prove that it holds every node of the ring.
 * @throws SnapshotIncompleteError naming the nodes
 */
export function checkCoverage(snapshot: Snapshot, trustCoverage: boolean): void {
  if (trustCoverage) return;
  const without = snapshot.nodes.filter((node) => !snapshot.manifests.some((manifest) => manifest.node === node));
  if (without.length > 0 || snapshot.manifests.length === 0) {
    throw new SnapshotIncompleteError(
      `nothing proves that the snapshot covers the ring: ${without.join(', ') || 'no node'} has no ${MANIFEST_NAME}; ship with ringshift snapshot upload, or load with trustCoverage`,
    );
  }
  const blind = snapshot.manifests.filter((manifest) => manifest.ring.length === 0).map((manifest) => manifest.node);
  if (blind.length > 0) {
    throw new SnapshotIncompleteError(
      `the manifest of ${blind.join(', ')} does not say which nodes the ring has; ship it again with --contact-point or --nodetool-status, or load with trustCoverage`,
    );
  }
  const present = new Set(snapshot.manifests.map((manifest) => manifest.hostId));
  const missing = new Set(snapshot.manifests.flatMap((manifest) => manifest.ring.filter((host) => !present.has(host))));
  if (missing.size > 0) {
    throw new SnapshotIncompleteError(
      `the snapshot lacks nodes of the ring: ${[...missing].join(', ')} (host ids); ship theirs too, or load with trustCoverage`,
      { context: { missing: [...missing] } },
    );
  }
}

/**
 * Refuses a snapshot that may lack writes which were not shadowed either.
 * @returns what an allowed early snapshot may lack, for the report
 * @throws SnapshotTooOldError
 */
export function checkAge(snapshot: Snapshot, phase: PhaseRecord | undefined, allowEarlySnapshot: boolean): string[] {
  const reasons: string[] = [];
  const settled = phase?.dualWritesSettledAt ?? null;
  if (settled === null) {
    reasons.push(
      'no dual writes are in force on every proxy (ringshift phase set dual-async), so later writes are lost',
    );
  } else {
    if (snapshot.manifests.length < snapshot.nodes.length || snapshot.manifests.length === 0) {
      reasons.push('the age of the snapshot is unknown: a node has no manifest');
    }
    for (const { node, takenAt } of snapshot.manifests) {
      if (takenAt === null) reasons.push(`${node}: it is unknown when the snapshot was taken`);
      else if (Date.parse(takenAt) < Date.parse(settled)) {
        reasons.push(`${node}: taken at ${takenAt}, before every proxy wrote to both clusters (${settled})`);
      }
    }
  }
  if (reasons.length > 0 && !allowEarlySnapshot) {
    throw new SnapshotTooOldError(
      `the snapshot may lack writes: ${reasons.join('; ')}. Take a new one, or load with allowEarlySnapshot`,
      { context: { reasons } },
    );
  }
  return reasons;
}

/** The keyspaces that a snapshot holds, ascending. */
export async function snapshotKeyspaces(objects: ObjectStore, prefix: string): Promise<readonly string[]> {
  const base = prefix === '' ? '' : `${prefix}/`;
  const keyspaces = new Set<string>();
  for await (const { key } of objects.list(base)) {
    const place = parseComponentPlace(key.slice(base.length));
    if (place !== undefined) keyspaces.add(place.keyspace);
  }
  return [...keyspaces].sort();
}
