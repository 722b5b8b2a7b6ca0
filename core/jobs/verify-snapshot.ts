/** Everything that is wrong with a snapshot in an object store: what is missing, and what is damaged. */

import { crc32 } from 'node:zlib';
import { describeError, MigrationError } from '../errors.ts';
import type { ObjectStore } from '../ports.ts';
import { Component } from '../sstable/sstable-name.ts';
import { verifySSTable } from '../sstable/verify.ts';
import {
  findAmbiguous,
  findMissingComponents,
  findMissingFiles,
  findMissingNodes,
  findMissingTables,
  findUnlisted,
  type SnapshotFault,
} from './snapshot-faults.ts';
import { snapshotFiles } from './snapshot-layout.ts';
import { type ListedSSTable, listSnapshot } from './snapshot-listing.ts';
import { MANIFEST_NAME, parseManifest, type SnapshotManifest } from './snapshot-manifest.ts';

export interface VerifySnapshotOptions {
  /** Only these; default: all that are there. */
  readonly keyspaces?: readonly string[];
  /** Of the keyspaces, over all data centres together, when it is known: tells what missing nodes cost. */
  readonly replicationFactor?: number;
  /** After each SSTable; bytes of Data.db. */
  readonly onProgress?: (doneBytes: number, totalBytes: number, sstables: number) => void;
  readonly signal?: AbortSignal;
}

export interface SnapshotVerification {
  readonly nodes: readonly string[];
  readonly sstables: number;
  readonly bytes: number;
  readonly faults: readonly SnapshotFault[];
}

/**
 * Reads all of a snapshot and reports every fault, not the first one; inside of one component the first damage.
 * @param prefix without a trailing '/'
 */
export async function verifySnapshot(
  objects: ObjectStore,
  prefix: string,
  options: VerifySnapshotOptions = {},
): Promise<SnapshotVerification> {
  const { keyspaces, signal } = options;
  const isWanted = (keyspace: string) => keyspaces?.includes(keyspace) ?? true;
  const listing = await listSnapshot(objects, prefix, isWanted, signal);
  const { base, nodes } = listing;
  const faults: SnapshotFault[] = listing.unsupported.map(({ where, error }) => ({
    kind: 'damage',
    where,
    message: describeError(error),
  }));
  const manifests = await readManifests(objects, base, nodes, faults, signal);
  faults.push(
    ...findMissingNodes(manifests, options.replicationFactor),
    ...findMissingTables(manifests, isWanted),
    ...manifests.flatMap((manifest) => findMissingFiles(manifest, listing.sizes, isWanted)),
    ...findAmbiguous(listing),
    ...findUnlisted(manifests, listing),
  );
  const known = new Set(faults.map(({ where }) => where));
  const checksums = checksumsOf(manifests, base);
  const { sstables } = listing;
  const totalBytes = sstables.reduce((sum, each) => sum + (each.components[Component.Data] ?? 0), 0);
  let doneBytes = 0;
  for (const [index, sstable] of sstables.entries()) {
    signal?.throwIfAborted();
    const missing = findMissingComponents(sstable);
    faults.push(...missing.filter(({ where }) => !known.has(where)));
    if (missing.length === 0) faults.push(...(await findDamage(objects, base, sstable, checksums, signal)));
    doneBytes += sstable.components[Component.Data] ?? 0;
    options.onProgress?.(doneBytes, totalBytes, index + 1);
  }
  return { nodes, sstables: sstables.length, bytes: totalBytes, faults };
}

async function readManifests(
  objects: ObjectStore,
  base: string,
  nodes: readonly string[],
  faults: SnapshotFault[],
  signal?: AbortSignal,
): Promise<SnapshotManifest[]> {
  const manifests: SnapshotManifest[] = [];
  for (const node of nodes) {
    const where = `${node}/${MANIFEST_NAME}`;
    const body = await objects.get(base + where, signal);
    try {
      if (body !== undefined) manifests.push(parseManifest(body, where));
      else
        faults.push({
          kind: 'manifest',
          where: node,
          message: `${node} has no ${MANIFEST_NAME}: its upload has not ended; ship it again with ringshift snapshot upload`,
        });
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      faults.push({ kind: 'manifest', where: node, message: describeError(error) });
    }
  }
  return manifests;
}

function checksumsOf(manifests: readonly SnapshotManifest[], base: string): ReadonlyMap<string, number> {
  return new Map(
    manifests.flatMap(({ node, components }) => components.map((each) => [`${base}${node}/${each.key}`, each.crc32])),
  );
}

const WINDOW_BYTES = 8 * 1024 * 1024;

/** Reads the SSTable to its end, and what its own checksums do not cover against the manifest's. */
async function findDamage(
  objects: ObjectStore,
  base: string,
  { where, place, version, components }: ListedSSTable,
  checksums: ReadonlyMap<string, number>,
  signal?: AbortSignal,
): Promise<SnapshotFault[]> {
  const faults: SnapshotFault[] = [];
  try {
    for (const [component, byteLength] of Object.entries(components)) {
      const key = `${base}${where}-${component}`;
      const expected = checksums.get(key);
      // Data.db is compared with its digest, which has the same sum.
      const hasDigest = component === Component.Data && components[Component.Digest] !== undefined;
      if (expected === undefined || hasDigest) continue;
      const source = await objects.open(key, byteLength);
      let actual = 0;
      for (let start = 0; start < source.byteLength; start += WINDOW_BYTES) {
        actual = crc32(await source.read(start, Math.min(start + WINDOW_BYTES, source.byteLength), signal), actual);
      }
      if (actual !== expected) {
        faults.push({
          kind: 'damage',
          where: `${where}-${component}`,
          message: `${where}-${component} is not what was uploaded: its checksum is ${actual} instead of ${expected}`,
        });
      }
    }
    await verifySSTable(snapshotFiles(objects, { node: place.node, key: base + where, version, components }), {
      signal,
    });
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    const kind = error.name === 'SnapshotIncompleteError' ? 'component' : 'damage';
    faults.push({ kind, where, message: describeError(error) });
  }
  return faults;
}
