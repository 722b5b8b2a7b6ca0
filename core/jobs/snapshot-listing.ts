/** What lies below the prefix of a snapshot: nodes and SSTables, by the names of the objects alone. */

import { MigrationError } from '../errors.ts';
import type { ObjectStore } from '../ports.ts';
import { parseSSTableName } from '../sstable/sstable-name.ts';
import { MANIFEST_NAME } from './snapshot-manifest.ts';

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

export interface ListedSSTable {
  /** Key below the prefix, up to and including `nb-1-big`. */
  readonly where: string;
  readonly place: ComponentPlace;
  readonly version: string;
  /** Component name → bytes. */
  readonly components: Readonly<Record<string, number>>;
}

export interface SnapshotListing {
  /** What all keys begin with: the prefix with its '/', or nothing. */
  readonly base: string;
  /** Every object below the prefix: key after `base` → bytes. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Folders with a manifest or files of a table, ascending. */
  readonly nodes: readonly string[];
  /** Of the wanted keyspaces. */
  readonly sstables: readonly ListedSSTable[];
  /** Files of the wanted keyspaces whose names are those of an SSTable that can't be read. */
  readonly unsupported: readonly { readonly where: string; readonly error: MigrationError }[];
}

/** @param prefix without a trailing '/' */
export async function listSnapshot(
  objects: ObjectStore,
  prefix: string,
  isWanted: (keyspace: string) => boolean,
  signal?: AbortSignal,
): Promise<SnapshotListing> {
  const base = prefix === '' ? '' : `${prefix}/`;
  const sizes = new Map<string, number>();
  const nodes = new Set<string>();
  const sstables = new Map<string, ListedSSTable & { readonly components: Record<string, number> }>();
  const unsupported: { where: string; error: MigrationError }[] = [];
  for await (const { key, byteLength } of objects.list(base, signal)) {
    const where = key.slice(base.length);
    sizes.set(where, byteLength);
    const place = parseComponentPlace(where);
    if (place !== undefined || (where.endsWith(`/${MANIFEST_NAME}`) && where.split('/').length === 2))
      nodes.add(where.split('/')[0]!);
    if (place === undefined || !isWanted(place.keyspace)) continue;
    try {
      const name = parseSSTableName(place.file);
      if (name === undefined) continue;
      const group = where.slice(0, where.length - place.file.length) + name.base;
      const known = sstables.get(group) ?? { where: group, place, version: name.version, components: {} };
      known.components[name.component] = byteLength;
      sstables.set(group, known);
    } catch (error) {
      if (!(error instanceof MigrationError)) throw error;
      unsupported.push({ where, error });
    }
  }
  return { base, sizes, nodes: [...nodes].sort(), sstables: [...sstables.values()], unsupported };
}
