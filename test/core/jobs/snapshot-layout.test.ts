import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { SnapshotIncompleteError, SnapshotTooOldError, SSTableCorruptError, UsageError } from '#core/errors.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import { checkAge, checkCoverage, readSnapshot, snapshotFiles } from '#core/jobs/snapshot-layout.ts';
import { parseComponentPlace } from '#core/jobs/snapshot-listing.ts';
import { MANIFEST_NAME, type SnapshotManifest } from '#core/jobs/snapshot-manifest.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';
import { openSSTable } from '#core/sstable/sstable.ts';
import { listFixtures3 } from '../../golden/fixtures.ts';
import { MemoryFiles } from '../../support/byte-sources.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';
import { openGates } from '../../support/open-gates.ts';

const FOLDER = 'shop/orders-0123456789abcdef0123456789abcdef/snapshots/t1';
const NAMES = ['Data.db', 'Statistics.db', 'CompressionInfo.db', 'Index.db', 'Summary.db'];

function manifestOf(node: string, changes: Partial<SnapshotManifest> = {}): SnapshotManifest {
  return {
    version: 1,
    node,
    hostId: `host-${node}`,
    datacenter: 'dc1',
    rack: 'r1',
    tokens: ['1'],
    ring: ['host-n1', 'host-n2'],
    tag: 't1',
    takenAt: '2026-01-02T00:00:00.000Z',
    tables: [{ keyspace: 'shop', table: 'orders', droppedColumns: [] }],
    components: NAMES.map((name) => ({ key: `${FOLDER}/nb-1-big-${name}`, byteLength: 3, crc32: 1 })),
    ...changes,
  };
}

function storeOf(...manifests: SnapshotManifest[]) {
  const objects = new Map<string, Uint8Array>();
  for (const manifest of manifests) {
    for (const { key } of manifest.components) objects.set(`snap/${manifest.node}/${key}`, new Uint8Array(3));
    objects.set(`snap/${manifest.node}/${MANIFEST_NAME}`, new TextEncoder().encode(JSON.stringify(manifest)));
  }
  return objects;
}

const read = (objects: Map<string, Uint8Array>) => readSnapshot(createMemoryObjectStore(objects), 'snap', 'shop');

test('components are found with and without the folder of the snapshot; indexes and backups are not', () => {
  const table = 'n1/shop/orders-0123456789abcdef0123456789abcdef';
  expect(parseComponentPlace(`${table}/nb-1-big-Data.db`)).toMatchObject({
    node: 'n1',
    table: 'orders',
    tag: undefined,
  });
  expect(parseComponentPlace(`${table}/snapshots/t1/nb-1-big-Data.db`)?.tag).toBe('t1');
  expect(parseComponentPlace(`${table}/.by_name/nb-1-big-Data.db`)).toBeUndefined();
  expect(parseComponentPlace(`${table}/backups/nb-1-big-Data.db`)).toBeUndefined();
});

test('two tables of one name are refused: one of them was dropped, and its rows would come back', async () => {
  const dropped = 'shop/orders-ffffffffffffffffffffffffffffffff/snapshots/t1';
  const objects = storeOf(
    manifestOf('n1'),
    manifestOf('n2', {
      components: NAMES.map((name) => ({ key: `${dropped}/nb-1-big-${name}`, byteLength: 3, crc32: 1 })),
    }),
  );
  await expect(read(objects)).rejects.toThrow(/two tables named shop\.orders.*orders-f{32}/);
});

test('the same SSTable name on two nodes is two SSTables', async () => {
  const snapshot = await read(storeOf(manifestOf('n1'), manifestOf('n2')));
  expect(snapshot.tables).toHaveLength(1);
  expect(snapshot.tables[0]?.sstables.map(({ node }) => node)).toEqual(['n1', 'n2']);
});

test.each(['Data.db', 'Statistics.db', 'CompressionInfo.db', 'Index.db'])(
  'a missing %s is named, with or without a manifest',
  async (name) => {
    const objects = storeOf(manifestOf('n1'));
    objects.delete(`snap/n1/${FOLDER}/nb-1-big-${name}`);
    await expect(read(objects)).rejects.toThrow(`memory://bucket/snap/n1/${FOLDER}/nb-1-big-${name} is missing`);
    objects.delete(`snap/n1/${MANIFEST_NAME}`);
    await expect(read(objects)).rejects.toThrow(`nb-1-big-${name} is missing`);
  },
);

test('an SSTable that no manifest names is refused by name: it may hold what was deleted since', async () => {
  const objects = storeOf(manifestOf('n1'), manifestOf('n2'));
  for (const name of NAMES) objects.set(`snap/n2/${FOLDER}/nb-7-big-${name}`, new Uint8Array(3));
  await expect(read(objects)).rejects.toThrow(/nb-7-big is not in the manifest of n2.*remove its files, or upload/);
  await expect(read(objects)).rejects.toBeInstanceOf(UsageError);
  objects.delete(`snap/n2/${MANIFEST_NAME}`);
  // Without a manifest nothing says what belongs there; that is refused as coverage, unless it is trusted.
  expect((await read(objects)).tables[0]?.sstables).toHaveLength(3);
});

test('an object of another size than its manifest says is refused', async () => {
  const objects = storeOf(manifestOf('n1'));
  objects.set(`snap/n1/${FOLDER}/nb-1-big-Summary.db`, new Uint8Array(2));
  await expect(read(objects)).rejects.toBeInstanceOf(SnapshotIncompleteError);
});

test('a node of the ring that was not shipped is named', async () => {
  const snapshot = await read(storeOf(manifestOf('n1')));
  expect(() => checkCoverage(snapshot, false)).toThrow('host-n2');
  expect(() => checkCoverage(snapshot, true)).not.toThrow();
  const whole = await read(storeOf(manifestOf('n1'), manifestOf('n2')));
  expect(() => checkCoverage(whole, false)).not.toThrow();
});

test('a manifest that does not know the ring proves nothing', async () => {
  const snapshot = await read(storeOf(manifestOf('n1', { ring: [] })));
  expect(() => checkCoverage(snapshot, false)).toThrow(SnapshotIncompleteError);
});

function phaseOf(settledAt: string | null): PhaseRecord {
  const active = { epoch: 2, phase: 'dual-async' as const, since: '2026-01-01T00:00:00.000Z', by: 'x', why: 'y' };
  return {
    version: 1,
    active,
    proposal: null,
    lastEpoch: 2,
    dualWritesSince: active.since,
    dualWritesSettledAt: settledAt,
    history: [],
  };
}

test('a snapshot of before the dual writes, or of unknown age, is refused unless that is allowed', async () => {
  const early = await read(storeOf(manifestOf('n1')));
  const late = phaseOf('2026-01-02T00:00:00.001Z');
  expect(() => checkAge(early, late, false)).toThrow(SnapshotTooOldError);
  expect(checkAge(early, late, true)).toHaveLength(1);
  expect(checkAge(early, phaseOf('2026-01-01T12:00:00.000Z'), false)).toEqual([]);
  expect(() => checkAge(early, phaseOf(null), false)).toThrow('dual-async');
  expect(() => checkAge(early, undefined, false)).toThrow(SnapshotTooOldError);
  const ageless = await read(storeOf(manifestOf('n1', { takenAt: null })));
  expect(() => checkAge(ageless, phaseOf('2026-01-01T12:00:00.000Z'), false)).toThrow('unknown');
});

test('the age is counted from when every proxy was seen writing to both clusters, not from the activation', async () => {
  const ledger = createLedger(createMemoryLedgerStore());
  const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000);
  let seconds = 0;
  let actingEpoch = 1;
  await ledger.initPhase('origin-only', 'test', at(0));
  const put = async () => {
    const drainedForEpoch = 2;
    const leaseUntil = at(seconds + 60).toISOString();
    const startedAt = at(0).toISOString();
    await ledger.putProxy({
      version: 1,
      instance: 'p',
      startedAt,
      leaseUntil,
      drainedForEpoch,
      actingEpoch,
      counters: {},
    });
  };
  await put();
  const phase = await changePhase(
    {
      phase: 'dual-async',
      by: 'test',
      why: '',
      force: [],
      fence: [],
      withoutProxies: false,
      drainTimeoutMs: 30_000,
    },
    {
      ledger,
      gates: openGates,
      logger: createLogger('test', 'silent'),
      now: () => at(seconds),
      // A request of before the dual writes keeps this proxy from saying that it acts for eleven seconds.
      sleep: async () => {
        seconds++;
        if (seconds > 10) actingEpoch = 2;
        await put();
      },
      onWait: () => undefined,
    },
  );
  expect(phase.dualWritesSince).toBe(at(0).toISOString());
  const takenAt = async (second: number) => read(storeOf(manifestOf('n1', { takenAt: at(second).toISOString() })));
  const early = await takenAt(10);
  expect(() => checkAge(early, phase, false)).toThrow(SnapshotTooOldError);
  expect(checkAge(await takenAt(11), phase, false)).toEqual([]);
});

test('Statistics.db is refused when it is not what was shipped: before version na it has no checksum of its own', async () => {
  const { files } = listFixtures3().find(({ title }) => title === '3.x/3.0.16/wide/mc-1-big')!;
  const node = 'n1';
  const objects = new Map<string, Uint8Array>();
  const components: { key: string; byteLength: number; crc32: number }[] = [];
  for (const [component, bytes] of (await MemoryFiles.of(files, NAMES)).components) {
    const key = `${FOLDER}/mc-1-big-${component}`;
    components.push({ key, byteLength: bytes.length, crc32: crc32(bytes) });
    objects.set(`snap/${node}/${key}`, bytes);
  }
  const manifest = manifestOf(node, { components });
  objects.set(`snap/${node}/${MANIFEST_NAME}`, new TextEncoder().encode(JSON.stringify(manifest)));
  const { tables } = await read(objects);
  const open = () => openSSTable(snapshotFiles(createMemoryObjectStore(objects), tables[0]!.sstables[0]!));
  expect((await open()).stats.totalRows).toBeGreaterThan(0);
  const bytes = objects.get(`snap/${node}/${FOLDER}/mc-1-big-Statistics.db`)!;
  for (const at of [0, bytes.length >> 1, bytes.length - 1]) {
    bytes[at]! ^= 1;
    await expect(open()).rejects.toThrow(SSTableCorruptError);
    await expect(open()).rejects.toThrow(/Statistics\.db, offset 0: its checksum is not .*run snapshot upload again/);
    bytes[at]! ^= 1;
  }
});
