/** A node's manifest: what its upload has shipped, and which ring the node saw. */

import { z } from 'zod';
import { SnapshotIncompleteError } from '../errors.ts';

/** Its name, in the node's folder. */
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
