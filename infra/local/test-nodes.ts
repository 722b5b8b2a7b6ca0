/** Further nodes that only some tests start: other versions, other SSTable formats, and a ring of three. */
import { join } from 'node:path';
import type { NodeSettings } from './cassandra-config.ts';
import { stopNode } from './cassandra-node.ts';
import { cacheRoot } from './paths.ts';
import { CassandraVersion, OLDEST_CASSANDRA } from './versions.ts';

function describeNode(name: string, version: string, host: number, more: Partial<NodeSettings> = {}): NodeSettings {
  return {
    name: `test-${name}`,
    version,
    address: `127.0.0.${host}`,
    port: 9042,
    storagePort: 7000,
    jmxPort: 7100 + host,
    heapMB: 512,
    folder: join(cacheRoot, 'test', name),
    survivesKill: false,
    ...more,
  };
}

/** The oldest version whose SSTables are tested against itself. */
export const oldestNode = describeNode('oldest', OLDEST_CASSANDRA, 21);
/** 5.0 without regard to 4.x: BIG files of version `oa`. */
export const oaNode = describeNode('oa', CassandraVersion.target, 22, { sstableFormat: 'oa' });
/** 5.0 with the trie index: BTI files of version `da`. */
export const daNode = describeNode('da', CassandraVersion.target, 23, { sstableFormat: 'da' });

// Roles lie on one node of a ring, which may be the one that stands still.
const ring = { cluster: 'test-ring', keepsHints: false, asksForLogin: false };
const seed = describeNode('ring1', CassandraVersion.origin, 24, ring);

/**
 * Three nodes of one cluster, none of which keeps a hint for another. The first is the seed: it must answer before the
 * others start.
 */
export const ringNodes: readonly [NodeSettings, NodeSettings, NodeSettings] = [
  seed,
  { ...describeNode('ring2', seed.version, 25, ring), seed },
  { ...describeNode('ring3', seed.version, 26, ring), seed },
];

/** Whose clients come by TLS, once a test has said by which files. */
export const tlsNode = describeNode('tls', CassandraVersion.origin, 29, { asksForLogin: false });

/** Stops what a test that was interrupted left running. */
export async function stopTestNodes(): Promise<void> {
  await Promise.all([oldestNode, oaNode, daNode, tlsNode, ...ringNodes].map((node) => stopNode(node)));
}
