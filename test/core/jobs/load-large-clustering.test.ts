import { crc32 } from 'node:zlib';
import { beforeEach, expect, test } from 'vitest';
import { encodeVint } from '#core/bytes/vint.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { type LoadRangePorts, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { openSSTable } from '#core/sstable/sstable.ts';
import { tokenOf } from '#core/token/token.ts';
import { fixture } from '../../golden/fixtures.ts';
import { tableSchemaOf } from '../../support/header-schema.ts';
import { createLoadSession } from '../../support/load-session.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

// The header of a real table (pk text, ck decimal, two static and two regular columns), and computed rows without cells.
const TITLE = '4.1-nb-big/blocks_static/nb-1-big';
const LARGE_BYTES = 9000;

const bytes16 = (value: Uint8Array) => Buffer.concat([Buffer.of(value.length >> 8, value.length & 0xff), value]);

/** A decimal whose unscaled value has so many bytes. */
function decimal(index: number, unscaledBytes: number): Buffer {
  const value = Buffer.alloc(4 + unscaledBytes);
  value[4] = 1;
  value.writeUInt16BE(index, value.length - 2);
  return value;
}

const ALL_MISSING = 3;
const partition = (key: Uint8Array, clusterings: readonly Buffer[]) =>
  Buffer.concat([
    bytes16(key),
    Buffer.from('7fffffff8000000000000000', 'hex'),
    Buffer.of(0x80, 0x01, 2, 0, ALL_MISSING), // no static cells
    ...clusterings.flatMap((value) => [
      Buffer.of(0x04, 0),
      encodeVint(value.length),
      value,
      Buffer.of(3, 0, 0, ALL_MISSING),
    ]),
    Buffer.of(0x01),
  ]);

let nowMillis: number;
let rows: string[];
let warnings: string[];

beforeEach(() => {
  nowMillis = Date.UTC(2027, 0, 1);
  rows = [];
  warnings = [];
});

async function createWorld(partitions: readonly { key: Buffer; clusterings: readonly Buffer[] }[]) {
  const { files } = fixture(TITLE);
  const schema = { ...tableSchemaOf((await openSSTable(files)).header), table: 'large' };
  const statistics = await files.open('Statistics.db');
  const pieces = partitions.map(({ key, clusterings }) => partition(key, clusterings));
  const data = Buffer.concat(pieces);
  const checksums = Buffer.alloc(4 + 4 * Math.ceil(data.length / 65_536));
  checksums.writeInt32BE(65_536);
  for (let at = 0; at < data.length; at += 65_536) {
    checksums.writeUInt32BE(crc32(data.subarray(at, at + 65_536)), 4 + at / 16_384);
  }
  let position = 0;
  const index = partitions.map(({ key }, number) => {
    const entry = Buffer.concat([bytes16(key), encodeVint(position), Buffer.of(0)]);
    position += pieces[number]!.length;
    return entry;
  });
  const prefix = `snap/n1/ks/large-${'0'.repeat(32)}/nb-1-big`;
  const objects = createMemoryObjectStore(
    new Map([
      [`${prefix}-Data.db`, new Uint8Array(data)],
      [`${prefix}-CRC.db`, new Uint8Array(checksums)],
      [`${prefix}-Index.db`, new Uint8Array(Buffer.concat(index))],
      [`${prefix}-Statistics.db`, new Uint8Array(await statistics.read(0, statistics.byteLength))],
    ]),
  );
  const logger = { debug() {}, info() {}, warn: (text: string) => warnings.push(text), error() {} };
  const ports = {
    readTarget: async () => ({ tables: [schema], views: [], indexes: [] }),
    objects,
    openSnapshot: () => ({ objects, prefix: 'snap' }),
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => nowMillis },
    logger,
    target: createLoadSession(({ entries }) => {
      nowMillis += 10;
      for (const { values } of entries) {
        rows.push(values.map((value) => value && Buffer.from(value).toString('hex').slice(-8)).join());
      }
    }),
    sleep: async (ms: number) => {
      nowMillis += ms;
    },
  };
  const options: PlanLoadOptions = {
    targetWriteMBps: 1000,
    tombstones: 'all',
    consistency: 'LOCAL_QUORUM',
    memoryBudgetMB: 64,
    rangeMB: 1024,
    maxConcurrency: 1,
    filterRules: null,
    indexes: 'rebuild',
    renames: { keyspaces: {}, tables: {} },
    by: 'test',
  };
  const input = { keyspace: 'ks', snapshot: 's3://b/snap', trustCoverage: true, allowEarlySnapshot: true };
  const plan = await planLoad('r1', input, ports as unknown as PlanLoadPorts, options);
  const items = JSON.parse(new TextDecoder().decode(await objects.get(plan.planKey))) as LoadItem[];
  expect(items).toHaveLength(1);
  return { item: items[0]!, loadPorts: ports as unknown as LoadRangePorts };
}

const [first, second] = ['a', 'b', 'c', 'd']
  .map((text) => Buffer.from(text))
  .sort((left, right) => (tokenOf(left) < tokenOf(right) ? -1 : 1)) as [Buffer, Buffer];
const small = (count: number) => Array.from({ length: count }, (_, index) => decimal(index, 3));
const large = (count: number) => Array.from({ length: count }, (_, index) => decimal(index, LARGE_BYTES));

test('a call that is late where rows are too large for a checkpoint ends before their partition, if it came further', async () => {
  const { item, loadPorts } = await createWorld([
    { key: first, clusterings: small(5) },
    { key: second, clusterings: large(100) },
  ]);
  const stopped = await loadRange({ item, ports: loadPorts, deadlineMillis: nowMillis + 25 });
  expect(stopped).toMatchObject({ kind: 'checkpoint', checkpoint: String(tokenOf(first)) });
  expect(warnings).toEqual([]);
  if (stopped.kind !== 'checkpoint') return;
  // From here on nothing but the end is further.
  const done = await loadRange({ item: stopped.item, ports: loadPorts, deadlineMillis: nowMillis - 1 });
  expect(done).toMatchObject({ kind: 'done', counts: { overtimeCalls: 1, calls: 2 } });
  expect(warnings).toEqual([expect.stringContaining('goes on past its deadline')]);
  expect(new Set(rows).size).toBe(105);
});

test('a call that is late where rows are too large for a checkpoint ends at the last smaller row', async () => {
  const { item, loadPorts } = await createWorld([{ key: first, clusterings: [...small(40), ...large(100)] }]);
  const stopped = await loadRange({ item, ports: loadPorts, deadlineMillis: nowMillis + 25 });
  expect(stopped).toMatchObject({ kind: 'checkpoint', checkpoint: expect.stringMatching(/^-?\d+:\w+:a/) });
  if (stopped.kind !== 'checkpoint') return;
  const done = await loadRange({ item: stopped.item, ports: loadPorts, deadlineMillis: nowMillis - 1 });
  expect(done).toMatchObject({ kind: 'done', counts: { overtimeCalls: 1, calls: 2 } });
  expect(new Set(rows).size).toBe(140);
});
