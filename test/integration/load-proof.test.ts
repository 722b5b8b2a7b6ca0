/**
 * The load against random histories, on every version and format: what it leaves on the target is what the origin has.
 * `RINGSHIFT_TEST_SEED` takes another history; the titles say which one it was.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NodeSettings } from '../../infra/local/cassandra-config.ts';
import { startNode, stopNode } from '../../infra/local/cassandra-node.ts';
import { testEnvironment } from '../../infra/local/environment.ts';
import { fetchCassandra, prepare } from '../../infra/local/prepare.ts';
import { daNode, oaNode, oldestNode } from '../../infra/local/test-nodes.ts';
import { parseDump } from '../golden/parse-dump.ts';
import { comparableDump, ourDump } from './support/dumps.ts';
import { loadInPieces } from './support/load-in-pieces.ts';
import {
  compactedDump,
  endProof,
  executeAll,
  originFiles,
  type Proof,
  type ProofSettings,
  SNAPSHOT_TAG,
  startProof,
} from './support/proof.ts';
import { dealSnapshot } from './support/replicas.ts';
import { readTable, sameExpiries } from './support/rows.ts';
import { nodetool, sstabledump } from './support/shared-tools.ts';

const SEED = Number(process.env['RINGSHIFT_TEST_SEED'] ?? 20_261_121);
/** Older than anything that a history writes. */
const ANCIENT_MICROS = 1;

/** One second is over before the load; the last are beyond 2038, which formats before `oa` can't say. */
const TTLS = [0, 1, 100_000, 100_001, 300_000_000];
const LONG_TTLS = [...TTLS, 630_000_000];

type Pair = Pick<ProofSettings, 'origin' | 'target' | 'isModern' | 'ttls'> & { readonly title: string };

const { origin: nb41, target: nb50 } = testEnvironment;

const groups: readonly { readonly nodes: readonly NodeSettings[]; readonly pairs: readonly Pair[] }[] = [
  {
    nodes: [oldestNode],
    pairs: [
      { title: '4.0 (nb) → 5.0', origin: oldestNode, target: nb50, isModern: false, ttls: TTLS },
      { title: '4.1 (nb) → 5.0', origin: nb41, target: nb50, isModern: false, ttls: TTLS },
    ],
  },
  {
    nodes: [oaNode, daNode],
    pairs: [
      { title: '5.0 (nb) → 5.0', origin: nb50, target: oaNode, isModern: true, ttls: TTLS },
      { title: '5.0 (oa) → 5.0', origin: oaNode, target: daNode, isModern: true, ttls: LONG_TTLS },
      { title: '5.0 (da) → 5.0', origin: daNode, target: oaNode, isModern: true, ttls: LONG_TTLS },
    ],
  },
];

let java: string;

beforeAll(async () => {
  java = (await prepare(() => undefined)).java;
});

describe.each(groups)('with $nodes.0.name', ({ nodes, pairs }) => {
  beforeAll(async () => {
    for (const { version } of nodes) await fetchCassandra(version, () => undefined);
    await Promise.all(nodes.map((node) => stopNode(node).then(() => startNode(node, { java, keepData: false }))));
  });

  afterAll(async () => {
    await Promise.all(nodes.map((node) => stopNode(node, { hard: true })));
  });

  for (const [index, pair] of pairs.entries()) {
    describe(`a random history on Cassandra ${pair.title}, seed ${SEED}`, () =>
      proofOf(pair, `proof_${nodes.length}${index}`));
  }
});

function proofOf({ title, ...pair }: Pair, keyspace: string): void {
  let proof: Proof;
  let place: string;

  beforeAll(async () => {
    // Each pair has a history of its own.
    const seed = [...title].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, SEED);
    proof = await startProof({ seed, keyspace, ...pair });
    place = join(proof.command.folder, 'snapshots');
  });

  afterAll(() => endProof(proof));

  test('every SSTable decodes to what sstabledump says of it', async () => {
    const files = originFiles(proof);
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) {
      const expected = parseDump(await sstabledump(pair.origin, file));
      expect(await ourDump(file), file).toEqual(expected);
    }
  });

  test('a load of two unrepaired replicas leaves the rows, write times and expiries that the origin shows', async () => {
    const { command, settings, random } = proof;
    const [a, b] = dealSnapshot(random, join(settings.origin.folder, 'data'), keyspace, SNAPSHOT_TAG, command.folder);
    for (const replica of [a, b]) {
      // 4.0 does not note the time of a snapshot.
      const time = settings.origin.version.startsWith('4.0.') ? ['--taken-at', new Date().toISOString()] : [];
      const name = replica === a ? 'a' : 'b';
      const shipping = ['--tag', SNAPSHOT_TAG, '--keyspace', keyspace, '--to', place, '--node', name, ...time];
      const shipped = await command.run('snapshot', 'upload', replica, ...shipping);
      expect(shipped.json['takenAt'], shipped.stderr).toBeTruthy();
    }
    // The shortest lives are over.
    await delay(1500);
    await command.load(keyspace, place, '--run-id', `${keyspace}-first`);
    await expectSameRows();
  });

  test('loading again, in other ranges and another order, changes nothing', async () => {
    await loadInPieces(proof.random, proof.command, `${keyspace}-first`);
    await expectSameRows();
  });

  test('after a compaction of both sides their SSTables hold the same, cell for cell', async () => {
    const { origin, target, mutations, schema } = proof;
    for (const [client, node] of [
      [origin, pair.origin],
      [target, pair.target],
    ] as const) {
      await nodetool(node, 'flush', keyspace);
      await executeAll(
        client,
        mutations.flatMap((each) => each.partitionDeletions(ANCIENT_MICROS)),
      );
      await nodetool(node, 'flush', keyspace);
      await nodetool(node, 'compact', keyspace);
    }
    for (const { name, statics, regulars } of schema.tables) {
      const lists = [...statics, ...regulars].filter(({ type }) => type.multiCell?.kind === 'list');
      const [expected, actual] = await Promise.all(
        (['origin', 'target'] as const).map(async (side) =>
          comparableDump(
            await compactedDump(proof, side, name),
            lists.map((list) => list.name),
            ANCIENT_MICROS,
          ),
        ),
      );
      expect(expected!.length).toBeGreaterThan(0);
      expect(actual, name).toEqual(expected);
    }
  });

  async function expectSameRows(): Promise<void> {
    for (const table of proof.schema.tables) {
      const options = { elementTimes: pair.isModern };
      const [expected, actual] = [
        await readTable(proof.origin, table, options),
        await readTable(proof.target, table, options),
      ];
      expect(actual.rows, table.create).toEqual(expected.rows);
      expect(sameExpiries(expected, actual), `the expiries of ${table.create}`).toBe(true);
    }
  }
}
