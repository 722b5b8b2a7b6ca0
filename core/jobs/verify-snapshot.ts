/** Everything that is wrong with a snapshot in an object store: what is missing, and what is damaged. */

import { crc32 } from 'node:zlib';
import { describeError, MigrationError } from '../errors.ts';
import type { ObjectStore } from '../ports.ts';
import { Component, parseSSTableName } from '../sstable/sstable-name.ts';
import { verifySSTable } from '../sstable/verify.ts';
import {
  findMissingFiles,
  findMissingNodes,
  findMissingTables,
  missingFile,
  type SnapshotFault,
} from './snapshot-faults.ts';
import {
  MANIFEST_NAME,
  parseComponentPlace,
  parseManifest,
  type SnapshotManifest,
  type SnapshotSSTable,
  snapshotFiles,
} from './snapshot-layout.ts';

export interface VerifySnapshotOptions {
  /** Only these; default: all that are there. */
  readonly keyspaces?: readonly string[];
  /** Of the keyspaces, when it is known: tells what missing nodes cost. */
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
 * Reads all of a snapshot and reports every fault, not the first one.
 * @param prefix without a trailing '/'
 */
export async function verifySnapshot(
  objects: ObjectStore,
  prefix: string,
  options: VerifySnapshotOptions = {},
): Promise<SnapshotVerification> {
  const base = prefix === '' ? '' : `${prefix}/`;
  const isWanted = (keyspace: string) => options.keyspaces?.includes(keyspace) ?? true;
  const sizes = new Map<string, number>();
  for await (const { key, byteLength } of objects.list(base, options.signal)) {
    sizes.set(key.slice(base.length), byteLength);
  }
  const faults: SnapshotFault[] = [];
  const sstables = groupSSTables(sizes, base, isWanted, faults);
  const nodes = nodesOf(sizes);
  const manifests = await readManifests(objects, base, nodes, faults, options.signal);
  faults.push(...findMissingNodes(manifests, options.replicationFactor));
  faults.push(...findMissingTables(manifests, isWanted));
  for (const manifest of manifests) faults.push(...findMissingFiles(manifest, sizes, isWanted));
  const checksums = checksumsOf(manifests, base);
  const totalBytes = sstables.reduce((sum, each) => sum + (each.components[Component.Data] ?? 0), 0);
  let doneBytes = 0;
  for (const [index, sstable] of sstables.entries()) {
    options.signal?.throwIfAborted();
    const where = sstable.key.slice(base.length);
    const missing = missingComponents(sstable);
    for (const component of missing) {
      const known = faults.some((fault) => fault.where === `${where}-${component}`);
      if (!known) faults.push(missingFile(`${where}-${component}`));
    }
    if (missing.length === 0) faults.push(...(await findDamage(objects, sstable, where, checksums, options.signal)));
    doneBytes += sstable.components[Component.Data] ?? 0;
    options.onProgress?.(doneBytes, totalBytes, index + 1);
  }
  return { nodes, sstables: sstables.length, bytes: totalBytes, faults };
}

function nodesOf(sizes: ReadonlyMap<string, number>): string[] {
  const nodes = new Set<string>();
  for (const key of sizes.keys()) {
    if (key.endsWith(`/${MANIFEST_NAME}`) || parseComponentPlace(key) !== undefined) nodes.add(key.split('/')[0]!);
  }
  return [...nodes].sort();
}

function groupSSTables(
  sizes: ReadonlyMap<string, number>,
  base: string,
  isWanted: (keyspace: string) => boolean,
  faults: SnapshotFault[],
): SnapshotSSTable[] {
  const groups = new Map<string, { node: string; key: string; version: string; components: Record<string, number> }>();
  for (const [key, byteLength] of sizes) {
    const place = parseComponentPlace(key);
    if (place === undefined || !isWanted(place.keyspace)) continue;
    try {
      const name = parseSSTableName(place.file);
      if (name === undefined) continue;
      const group = key.slice(0, key.length - place.file.length) + name.base;
      const known = groups.get(group) ?? { node: place.node, key: base + group, version: name.version, components: {} };
      known.components[name.component] = byteLength;
      groups.set(group, known);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      faults.push({ kind: 'damage', where: key, message: describeError(error) });
    }
  }
  return [...groups.values()];
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

function missingComponents({ components }: SnapshotSSTable): string[] {
  const has = (component: string) => components[component] !== undefined;
  const missing: string[] = [Component.Data, Component.Statistics].filter((component) => !has(component));
  if (!has(Component.CompressionInfo) && !has(Component.Crc)) missing.push(Component.CompressionInfo);
  if (!has(Component.Index) && !has(Component.Partitions)) missing.push(Component.Index);
  return missing;
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
  sstable: SnapshotSSTable,
  where: string,
  checksums: ReadonlyMap<string, number>,
  signal?: AbortSignal,
): Promise<SnapshotFault[]> {
  const faults: SnapshotFault[] = [];
  try {
    for (const [component, byteLength] of Object.entries(sstable.components)) {
      const key = `${sstable.key}-${component}`;
      const expected = checksums.get(key);
      // Data.db is compared with its digest.
      if (expected === undefined || component === Component.Data) continue;
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
    await verifySSTable(snapshotFiles(objects, sstable), { signal });
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    const kind = error.name === 'SnapshotIncompleteError' ? 'component' : 'damage';
    faults.push({ kind, where, message: describeError(error) });
  }
  return faults;
}
