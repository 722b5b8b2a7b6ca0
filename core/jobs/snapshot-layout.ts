/** What a snapshot in an object store consists of, and whether it is whole, covers the ring and is young enough. */

import { crc32 } from 'node:zlib';
import { type MigrationError, SnapshotIncompleteError, SnapshotTooOldError, UsageError } from '../errors.ts';
import type { PhaseRecord } from '../ledger/records.ts';
import type { ByteSource, ObjectStore } from '../ports.ts';
import { corrupt, type SSTableFiles } from '../sstable/sstable-files.ts';
import { Component } from '../sstable/sstable-name.ts';
import {
  findAmbiguous,
  findMissingComponents,
  findMissingFiles,
  findUnlisted,
  type SnapshotFault,
} from './snapshot-faults.ts';
import { listSnapshot } from './snapshot-listing.ts';
import { MANIFEST_NAME, parseManifest, type SnapshotManifest } from './snapshot-manifest.ts';

/** One SSTable of a snapshot: where its components are and how long they are. */
export interface SnapshotSSTable {
  readonly node: string;
  /** Key up to and including `nb-1-big`. */
  readonly key: string;
  readonly version: string;
  /** Component name → bytes. */
  readonly components: Readonly<Record<string, number>>;
  /** Of Statistics.db when it was shipped; before version na the file has no checksum of its own. */
  readonly statisticsCrc32?: number;
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

/**
 * Lists one keyspace of a snapshot and reads the nodes' manifests.
 * @param prefix without a trailing '/'
 * @throws SnapshotIncompleteError naming what is missing or has another size than its manifest says; UsageError naming
 * what lies there beside it and would be loaded with it
 */
export async function readSnapshot(
  objects: ObjectStore,
  prefix: string,
  keyspace: string,
  signal?: AbortSignal,
): Promise<Snapshot> {
  const isWanted = (each: string) => each === keyspace;
  const listing = await listSnapshot(objects, prefix, isWanted, signal);
  if (listing.unsupported[0] !== undefined) throw listing.unsupported[0].error;
  const { base } = listing;
  const manifests: SnapshotManifest[] = [];
  for (const node of listing.nodes) {
    const key = `${base}${node}/${MANIFEST_NAME}`;
    const body = await objects.get(key, signal);
    if (body !== undefined) manifests.push(parseManifest(body, `${objects.name}/${key}`));
  }
  const faults = [
    ...findAmbiguous(listing),
    ...manifests.flatMap((manifest) => findMissingFiles(manifest, listing.sizes, isWanted)),
    ...findUnlisted(manifests, listing),
    ...listing.sstables.flatMap(findMissingComponents),
  ];
  if (faults.length > 0) throw refusalOf(faults, `${objects.name}/${base}`);
  const checksums = new Map(
    manifests.flatMap(({ node, components }) => components.map(({ key, crc32 }) => [`${node}/${key}`, crc32])),
  );
  const tables = new Map<string, SnapshotSSTable[]>();
  for (const { where, place, version, components } of listing.sstables) {
    const known = tables.get(place.table) ?? [];
    const statisticsCrc32 = checksums.get(`${where}-${Component.Statistics}`);
    known.push({ node: place.node, key: base + where, version, components, statisticsCrc32 });
    tables.set(place.table, known);
  }
  const hasAny = (node: string) =>
    manifests.some((manifest) => manifest.node === node) || listing.sstables.some(({ place }) => place.node === node);
  return {
    tables: [...tables].sort().map(([table, sstables]) => ({ keyspace, table, sstables })),
    nodes: listing.nodes.filter(hasAny),
    manifests,
  };
}

const MAX_TOLD = 20;

/** One error for what must be mended together. */
function refusalOf(faults: readonly SnapshotFault[], place: string): MigrationError {
  const { kind, where } = faults[0]!;
  const isExtra = kind === 'extra';
  const same = faults.filter((fault) => (fault.kind === 'extra') === isExtra);
  const more = same.length > MAX_TOLD ? `; and ${same.length - MAX_TOLD} more` : '';
  const told = same.slice(0, MAX_TOLD).map((fault) => withPlace(fault, place));
  const text = `${[...new Set(told)].join('; ')}${more}`;
  return isExtra ? new UsageError(text) : new SnapshotIncompleteError(text, { context: { file: `${place}${where}` } });
}

/** Whole keys, which can be given to other tools as they stand. */
function withPlace({ where, message }: SnapshotFault, place: string): string {
  return where.includes('/') ? message.replace(where, `${place}${where}`) : `${place}: ${message}`;
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
      const source = await objects.open(`${sstable.key}-${component}`, byteLength);
      const { statisticsCrc32 } = sstable;
      if (component !== Component.Statistics || statisticsCrc32 === undefined) return source;
      return withChecksum(source, statisticsCrc32);
    },
  };
}

/** A source that is read as a whole, and is refused when that is not what was shipped. */
function withChecksum(source: ByteSource, expected: number): ByteSource {
  return {
    name: source.name,
    byteLength: source.byteLength,
    async read(start, end, signal) {
      const bytes = await source.read(start, end, signal);
      if (start > 0 || end < source.byteLength || crc32(bytes) === expected) return bytes;
      throw corrupt(
        source.name,
        0,
        `its checksum is not ${expected}, as when it was shipped; run snapshot upload again`,
      );
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
