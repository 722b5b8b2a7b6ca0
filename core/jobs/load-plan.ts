/** What `plan-load` leaves in the object store for `load-range`: the items of the map and one manifest for each table. */

import { z } from 'zod';
import { indexListSchema } from '../config/index-list.ts';
import { ConfigError, ObjectStoreError } from '../errors.ts';
import { filterRulesSchema } from '../filter/filter-rules.ts';
import type { PartitionSlice } from '../model/clustering-bound.ts';
import { Consistency, type ConsistencyName } from '../model/cql-request.ts';
import type { TableSchema } from '../model/table-schema.ts';
import { tableSchemaFromJson, tableSchemaToJson } from '../model/table-schema-json.ts';
import type { ObjectStore } from '../ports.ts';
import {
  BOUND_PATTERN,
  decodePlace,
  furthestPlace,
  KEY_PATTERN,
  LOAD_PLACE_PATTERN,
  type LoadPlace,
} from './load-place.ts';

const decimal = z.string().regex(/^-?\d{1,19}$/);

/** One range of one table: an item of the Distributed Map. Small, since a payload may have 256 KiB. */
export const loadItemSchema = z.object({
  runId: z.string().min(1).max(200),
  index: z.int().min(0),
  keyspace: z.string().min(1),
  table: z.string().min(1),
  /** (start, end], decimal texts. */
  start: decimal,
  end: decimal,
  /** Of a large partition, alone in its range, that is cut among several items: its part. @see encodeSlice */
  slice: z
    .object({
      key: z.string().regex(KEY_PATTERN),
      from: z.string().regex(BOUND_PATTERN).optional(),
      to: z.string().regex(BOUND_PATTERN).optional(),
    })
    .optional(),
  /** Estimated SSTable bytes in it, over all replicas, decompressed. */
  bytes: z.number().min(0),
  /** Of the table's manifest. */
  tableKey: z.string().min(1),
  /** How often these lists may have been loaded before; each load must write them later than the last. */
  listAttemptBase: z.int().min(0),
  /** Counters, which are added to; absent: rows with write times. */
  counters: z.boolean().optional(),
  /** The operator says that nobody writes the counters, on either side. */
  countersQuiesced: z.boolean().optional(),
  /** Which item of the plan has taken this range; absent: it stands for itself until it takes one. */
  ticket: z.int().min(0).optional(),
  /** Where an earlier call of this range ended. @see encodePlace */
  checkpoint: z.string().regex(LOAD_PLACE_PATTERN).optional(),
});
export type LoadItem = z.output<typeof loadItemSchema>;

/** Where to go on with an item: at its beginning, or at the furthest checkpoint. */
export function startOf(item: LoadItem, slice: PartitionSlice | undefined, recorded?: string | null): LoadPlace {
  const token = BigInt(item.start);
  const inside = slice?.from && { key: slice.key, bound: slice.from };
  const checkpoints = [item.checkpoint, recorded].filter((text) => typeof text === 'string');
  return furthestPlace([{ token, inside }, ...checkpoints.map(decodePlace)]);
}

/** The execution input of a bulk load. */
export const loadInputSchema = z.strictObject({
  keyspace: z.string().regex(/^\w{1,48}$/, 'must be a keyspace name'),
  tables: z.array(z.string().min(1)).min(1).optional(),
  /** s3://bucket/prefix, or a directory for a run on one machine. */
  snapshot: z.string().min(1),
  targetWriteMBps: z.number().positive().max(100_000).optional(),
  indexes: z.enum(['rebuild', 'skip']).optional(),
  /** Of `indexes: rebuild`: the content of indexes.yaml. */
  indexList: indexListSchema.optional(),
  tombstones: z.enum(['none', 'recent', 'all']).optional(),
  dryRun: z.boolean().optional(),
  /** Load the counter tables, and nothing else: what the target lacks is added to it. */
  counters: z.boolean().optional(),
  /** Of `counters`: nobody writes the counter tables while they are loaded, nor has since the snapshot. */
  countersQuiesced: z.boolean().optional(),
  /** Load although the snapshot may lack writes of before the dual writes. */
  allowEarlySnapshot: z.boolean().optional(),
  /** Load although nothing proves that every node of the ring is in the snapshot. */
  trustCoverage: z.boolean().optional(),
  /** Leave tables out that need a younger snapshot, instead of refusing them all. */
  skipStale: z.boolean().optional(),
  /** A run that was stopped or failed: only what it has not finished is loaded. */
  resume: z.string().min(1).max(200).optional(),
});
export type LoadInput = z.output<typeof loadInputSchema>;

/** @throws ConfigError with every fault and its path */
export function parseLoadInput(input: unknown): LoadInput {
  const parsed = loadInputSchema.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new ConfigError(
    'the input of the load',
    parsed.error.issues.map((issue) => ({ path: issue.path.join('.') || '(root)', message: issue.message })),
  );
}

/** `runs/<runId>/tables/<keyspace>.<table>.json`. */
export const tableManifestSchema = z.object({
  version: z.literal(1),
  kind: z.literal('load'),
  schema: z.unknown(),
  /** The snapshot's URI, for the port that opens its store. */
  snapshot: z.string(),
  sstables: z.array(
    z.object({
      node: z.string(),
      key: z.string(),
      version: z.string(),
      components: z.record(z.string(), z.int().min(0)),
      statisticsCrc32: z.int().min(0).max(0xffffffff).optional(),
      /** Least and greatest token, decimal; absent when the SSTable could not be opened. */
      bounds: z.object({ first: decimal, last: decimal }).optional(),
    }),
  ),
  tombstones: z.enum(['none', 'recent', 'all']),
  /** Start of the dual writes, decimal; null: there are none. */
  dualWritesSinceMicros: z.string().nullable(),
  /** When every proxy was seen in them, decimal. */
  dualWritesSettledMicros: z.string().nullable(),
  /** Bytes per second that one range may write. */
  bytesPerSecond: z.number().positive(),
  memoryBudgetBytes: z.number().positive(),
  consistency: z.enum(Object.keys(Consistency) as [ConsistencyName, ...ConsistencyName[]]),
  filterRules: filterRulesSchema.nullable(),
});
export type TableManifest = Omit<z.output<typeof tableManifestSchema>, 'schema' | 'version' | 'kind'> & {
  readonly schema: TableSchema;
};

/** The manifest's text for the object store. */
export function encodeTableManifest(manifest: TableManifest): string {
  return JSON.stringify({ ...manifest, version: 1, kind: 'load', schema: tableSchemaToJson(manifest.schema) });
}

/** @throws ObjectStoreError when the manifest is missing or is none of a load */
export async function readTableManifest(objects: ObjectStore, key: string): Promise<TableManifest> {
  const body = await objects.get(key);
  if (body === undefined) throw new ObjectStoreError(`${objects.name}/${key} does not exist`, { context: { key } });
  const parsed = tableManifestSchema.safeParse(JSON.parse(new TextDecoder().decode(body)));
  if (!parsed.success) {
    throw new ObjectStoreError(`${objects.name}/${key} is no table manifest of a load`, {
      context: { key },
      cause: parsed.error,
    });
  }
  return { ...parsed.data, schema: tableSchemaFromJson(parsed.data.schema) };
}
