/** A random history on an origin, and what the tests of the load ask about it. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'cassandra-driver';
import { expect } from 'vitest';
import type { NodeSettings } from '../../../infra/local/cassandra-config.ts';
import { dataFiles } from '../../../infra/local/cassandra-tools.ts';
import { connectAsAdministrator } from '../../../infra/local/cluster-roles.ts';
import { eventually } from '../../support/eventually.ts';
import { recreateKeyspace } from './clusters.ts';
import { MigrationCommand } from './command.ts';
import { Random } from './random.ts';
import { RandomMutations } from './random-mutations.ts';
import { type RandomSchema, randomSchema } from './random-schema.ts';
import { nodetool, sstabledump, takeSnapshot } from './shared-tools.ts';

export const SNAPSHOT_TAG = 'proof';
const ROUNDS = 5;
const MUTATIONS_PER_ROUND = 70;
const AT_ONCE = 24;
/** What a server answers to a statement that it does not take (0x2200, Invalid). */
const INVALID = 0x2200;

export interface ProofSettings {
  readonly seed: number;
  readonly keyspace: string;
  readonly origin: NodeSettings;
  readonly target: NodeSettings;
  /** Whether both know the type vector, and tell the times of elements (5.0 and later). */
  readonly isModern: boolean;
  /** Seconds. */
  readonly ttls: readonly number[];
}

/** Two clusters of one schema; the origin has a history in overlapping SSTables. */
export interface Proof {
  readonly settings: ProofSettings;
  readonly random: Random;
  readonly schema: RandomSchema;
  readonly mutations: readonly RandomMutations[];
  readonly origin: Client;
  readonly target: Client;
  readonly command: MigrationCommand;
}

/** Writes the history and takes a snapshot of it. */
export async function startProof(settings: ProofSettings): Promise<Proof> {
  const { seed, keyspace } = settings;
  const random = new Random(seed);
  const schema = randomSchema(random, keyspace, settings.isModern);
  const baseMicros = BigInt(Date.now() - 3_600_000) * 1000n;
  const mutations = schema.tables.map((table) => new RandomMutations(random, table, baseMicros, settings.ttls));
  const origin = await connectAsAdministrator(settings.origin);
  const target = await connectAsAdministrator(settings.target);
  for (const client of [origin, target]) {
    await recreateKeyspace(client, keyspace);
    for (const statement of schema.statements) await client.execute(statement);
  }
  const place = ({ address, port }: NodeSettings) => ({ host: address, port });
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-proof-'));
  const command = new MigrationCommand(folder, place(settings.origin), place(settings.target));
  const proof = { settings, random, schema, mutations, origin, target, command };
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const statements = mutations.flatMap((each) => Array.from({ length: MUTATIONS_PER_ROUND }, () => each.next()));
    refused += await executeAll(origin, random.shuffle(statements));
    const tables = schema.tables.map(({ name }) => name.slice(keyspace.length + 1));
    await nodetool(settings.origin, 'flush', keyspace, ...random.some(tables, 2 + random.below(3)));
  }
  // Some slices are of types that a server does not compare; were it more, the proof would prove little.
  expect(refused).toBeLessThan(0.1 * ROUNDS * MUTATIONS_PER_ROUND * schema.tables.length);
  await takeSnapshot(settings.origin, SNAPSHOT_TAG, keyspace);
  return proof;
}

/** @returns how many the server refused as invalid */
export async function executeAll(client: Client, statements: readonly string[]): Promise<number> {
  let refused = 0;
  const queue = statements.values();
  const worker = async (): Promise<void> => {
    for (const statement of queue) {
      try {
        await client.execute(statement);
      } catch (error) {
        if ((error as { code?: unknown }).code !== INVALID) throw error;
        refused += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return refused;
}

/** Data.db files of all tables of the origin. */
export function originFiles({ settings, schema }: Proof): string[] {
  return schema.tables.flatMap(({ name }) => dataFiles(settings.origin, settings.keyspace, name.split('.')[1]!));
}

/** One table's only SSTable on a side, as sstabledump shows it. */
export async function compactedDump(proof: Proof, side: 'origin' | 'target', table: string): Promise<string> {
  const { settings } = proof;
  // What a compaction has replaced goes in the background.
  const files = await eventually(() => {
    const found = dataFiles(settings[side], settings.keyspace, table.split('.')[1]!);
    expect(found).toHaveLength(1);
    return found;
  });
  // One tool for both: its releases print some values differently.
  return sstabledump(settings.target, files[0]!);
}

export async function endProof(proof: Proof | undefined): Promise<void> {
  if (proof === undefined) return;
  for (const client of [proof.origin, proof.target]) {
    await client.execute(`DROP KEYSPACE IF EXISTS ${proof.settings.keyspace}`).catch(() => undefined);
    await client.shutdown();
  }
}
