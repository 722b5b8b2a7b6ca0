import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { beforeEach, expect, test } from 'vitest';
import { MANIFEST_NAME, type SnapshotManifest } from '#core/jobs/snapshot-manifest.ts';
import { verifySnapshot } from '#core/jobs/verify-snapshot.ts';
import { fixture } from '../../golden/fixtures.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

const TABLE = `ks/simple-${'a'.repeat(32)}/snapshots/tag`;
const BIG = 'nb-1-big';
let objects: Map<string, Uint8Array>;

/** Three nodes with one SSTable of two formats each. */
beforeEach(() => {
  objects = new Map();
  for (const node of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) putNode(node);
});

function putNode(node: string, changes: Partial<SnapshotManifest> = {}): void {
  const components: SnapshotManifest['components'] = [];
  for (const title of ['4.1-nb-big/simple/nb-1-big', '5.0-da-bti/simple/da-1-bti']) {
    const { directory } = fixture(title);
    for (const file of readdirSync(directory).filter((each) => each.startsWith(title.split('/')[2]!))) {
      if (file.endsWith('.gz')) continue;
      const bytes = new Uint8Array(readFileSync(join(directory, file)));
      objects.set(`p/${node}/${TABLE}/${file}`, bytes);
      components.push({ key: `${TABLE}/${file}`, byteLength: bytes.length, crc32: crc32(bytes) });
    }
  }
  const manifest: SnapshotManifest = {
    version: 1,
    node,
    hostId: `host-${node}`,
    datacenter: 'dc1',
    rack: 'r1',
    tokens: [node.slice(-1)],
    ring: ['host-10.0.0.1', 'host-10.0.0.2', 'host-10.0.0.3'],
    tag: 'tag',
    takenAt: null,
    tables: [{ keyspace: 'ks', table: 'simple', droppedColumns: [] }],
    components,
    ...changes,
  };
  objects.set(`p/${node}/${MANIFEST_NAME}`, new TextEncoder().encode(JSON.stringify(manifest)));
}

async function faultsOf(replicationFactor?: number): Promise<string[]> {
  const { faults } = await verifySnapshot(createMemoryObjectStore(objects), 'p', { replicationFactor });
  return faults.map(({ kind, where, message }) => `${kind} ${where}: ${message}`);
}

const key = (node: string, component: string) => `p/${node}/${TABLE}/${component}`;

function flip(name: string, at: number): void {
  const bytes = objects.get(name)!;
  objects.set(name, bytes.with(at, bytes[at]! ^ 1));
}

test('a whole snapshot has no fault, and its progress ends at its size', async () => {
  const steps: [number, number, number][] = [];
  const onProgress = (...step: [number, number, number]) => steps.push(step);
  const result = await verifySnapshot(createMemoryObjectStore(objects), 'p', { onProgress });
  expect(result).toMatchObject({ sstables: 6, faults: [], nodes: ['10.0.0.1', '10.0.0.2', '10.0.0.3'] });
  expect(steps).toHaveLength(6);
  expect(steps.at(-1)).toEqual([result.bytes, result.bytes, 6]);
});

test('all faults are told at once, each with what it is about', async () => {
  objects.delete(key('10.0.0.1', `${BIG}-Index.db`));
  for (const name of [...objects.keys()]) if (name.startsWith(key('10.0.0.1', 'da-1-bti'))) objects.delete(name);
  flip(key('10.0.0.2', `${BIG}-Data.db`), 100);
  flip(key('10.0.0.2', 'da-1-bti-Partitions.db'), 9);
  objects.set(key('10.0.0.2', `${BIG}-Summary.db`), new Uint8Array(3));
  objects.delete(`p/10.0.0.3/${MANIFEST_NAME}`);
  const faults = await faultsOf(3);
  const expected = [
    /^component 10\.0\.0\.1\/.*nb-1-big-Index\.db: .* is missing; run snapshot upload of 10\.0\.0\.1 again$/,
    /^sstable 10\.0\.0\.1\/.*da-1-bti: the SSTable .* is missing/,
    /^damage 10\.0\.0\.2\/.*nb-1-big: .*Data\.db, offset \d+: /,
    /^damage 10\.0\.0\.2\/.*da-1-bti-Partitions\.db: .*not what was uploaded/,
    /^damage 10\.0\.0\.2\/.*nb-1-big-Summary\.db: .* has 3 bytes instead of \d+/,
    /^manifest 10\.0\.0\.3: .*has no ringshift-manifest\.json/,
    /^node host-10\.0\.0\.3: /,
    /^coverage ring: 1 of 3 nodes are missing: every token range has at least 2 of its 3 replicas/,
  ];
  for (const pattern of expected) expect(faults.filter((fault) => pattern.test(fault))).toHaveLength(1);
});

test('as many missing nodes as there are replicas may leave token ranges without any', async () => {
  for (const name of [...objects.keys()]) if (/^p\/10\.0\.0\.[23]\//.test(name)) objects.delete(name);
  expect(await faultsOf(2)).toContainEqual(
    expect.stringMatching(/^coverage .*2 of 3 nodes.*may have no replica at all$/),
  );
  expect(await faultsOf(3)).toContainEqual(expect.stringMatching(/^coverage .*at least 1 of its 3 replicas/));
  expect(await faultsOf()).toContainEqual(expect.stringMatching(/^coverage .*up to 2 .*--rf/));
});

test('a ring that no manifest names, and a table that one node lacks, are told', async () => {
  putNode('10.0.0.1', { ring: [] });
  putNode('10.0.0.2', { tables: [] });
  expect(await faultsOf()).toEqual([
    expect.stringMatching(/^coverage 10\.0\.0\.1: .*does not say which nodes the ring has/),
    expect.stringMatching(/^table 10\.0\.0\.2: .*has no table ks\.simple/),
  ]);
});

test('only the keyspaces that are asked for are read', async () => {
  flip(key('10.0.0.2', `${BIG}-Data.db`), 100);
  const store = createMemoryObjectStore(objects);
  expect(await verifySnapshot(store, 'p', { keyspaces: ['other'] })).toMatchObject({ sstables: 0, faults: [] });
  expect((await verifySnapshot(store, 'p', { keyspaces: ['ks'] })).faults).not.toEqual([]);
});

test('an SSTable that the manifest of its node does not name is told, with the remedy', async () => {
  for (const [name, bytes] of [...objects]) {
    if (name.startsWith(key('10.0.0.2', BIG))) objects.set(name.replace(BIG, 'nb-9-big'), bytes);
  }
  expect(await faultsOf()).toEqual([
    expect.stringMatching(
      /^extra 10\.0\.0\.2\/.*nb-9-big: .*not in the manifest of 10\.0\.0\.2.*remove its files, or upload/,
    ),
  ]);
});

test('what a load refuses is a fault: two snapshots of one table, two tables of one name', async () => {
  const copy = (from: string, to: string) => {
    const { components } = JSON.parse(new TextDecoder().decode(objects.get(`p/10.0.0.1/${MANIFEST_NAME}`)!));
    for (const { key: name } of [...components]) {
      objects.set(`p/10.0.0.1/${name.replace(from, to)}`, objects.get(`p/10.0.0.1/${name}`)!);
      components.push({
        ...components.find((each: { key: string }) => each.key === name),
        key: name.replace(from, to),
      });
    }
    putNode('10.0.0.1', { components });
  };
  copy('snapshots/tag', 'snapshots/other');
  expect(await faultsOf()).toEqual([expect.stringMatching(/^extra .*several snapshots \(other, tag\)/)]);
  for (const name of [...objects.keys()]) if (name.includes('snapshots/other')) objects.delete(name);
  putNode('10.0.0.1');
  copy('a'.repeat(32), 'b'.repeat(32));
  expect(await faultsOf()).toEqual([expect.stringMatching(/^extra ks\.simple: .*two tables named ks\.simple/)]);
});

test('without a digest Data.db is compared with what was uploaded', async () => {
  const data = key('10.0.0.2', `${BIG}-Data.db`);
  const bytes = objects.get(data)!;
  putNode('10.0.0.2', {
    components: [{ key: `${TABLE}/${BIG}-Data.db`, byteLength: bytes.length, crc32: crc32(bytes) + 1 }],
  });
  for (const name of [...objects.keys()]) if (/10\.0\.0\.2.*da-1-bti/.test(name)) objects.delete(name);
  expect(await faultsOf()).toEqual([]);
  objects.delete(key('10.0.0.2', `${BIG}-Digest.crc32`));
  objects.delete(key('10.0.0.2', `${BIG}-TOC.txt`));
  expect(await faultsOf()).toEqual([expect.stringMatching(/^damage .*nb-1-big-Data\.db is not what was uploaded/)]);
});

test('nodes that own the same token, or are one node, are told', async () => {
  putNode('10.0.0.2', { tokens: ['1', '2'] });
  putNode('10.0.0.3', { hostId: 'host-10.0.0.2', tokens: ['3'] });
  expect(await faultsOf()).toEqual([
    expect.stringMatching(/^coverage 10\.0\.0\.2: 10\.0\.0\.1 and 10\.0\.0\.2 both own the token 1/),
    expect.stringMatching(/^coverage 10\.0\.0\.3: .*one and the same node/),
    expect.stringMatching(/^node host-10\.0\.0\.3: /),
    expect.stringMatching(/^coverage ring: 1 of 3/),
  ]);
});
