import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { decodeInt } from '#core/cql/value-codec.ts';
import { decodePlace, encodePlace, furthestPlace, placeBehind } from '#core/jobs/load-place.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { type LoadRangePorts, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { parseCqlType } from '#core/model/parse-cql-type.ts';
import { clusteringOf, type Row } from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { ObjectStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

// Four partitions of some hundred rows in three SSTables, with range deletions everywhere.
const FOLDER = fileURLToPath(new URL('../../golden/sstables/', import.meta.url));
const column = (name: string, type: string) => ({ name, type: parseCqlType(type, 'ks', () => undefined) });
const schema: TableSchema = {
  keyspace: 'ks',
  table: 'blocks',
  partitionKey: [column('pk', 'int')],
  clustering: [
    { ...column('c1', 'int'), reversed: true },
    { ...column('c2', 'text'), reversed: false },
  ],
  staticColumns: [],
  regularColumns: [column('v', 'text')],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};
const logger = { debug() {}, info() {}, warn() {}, error() {} };
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

interface Statement {
  readonly text: string;
  readonly values: readonly Buffer[];
}

let objects: ObjectStore;
let ledger: Ledger;
let nowMillis: number;
let texts: string[];
let written: Statement[];

beforeEach(() => {
  nowMillis = Date.UTC(2027, 0, 1);
  texts = [];
  written = [];
  ledger = createLedger(createMemoryLedgerStore());
});

function snapshotOf(release: string): void {
  const files = new Map<string, Uint8Array>();
  const folder = join(FOLDER, release, 'blocks');
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.db'))) {
    files.set(`snap/n1/ks/blocks-${'0'.repeat(32)}/${name}`, readFileSync(join(folder, name)));
  }
  objects = createMemoryObjectStore(files);
}

const ports = () => ({
  readTarget: async () => ({ tables: [schema], views: [], indexes: [] }),
  objects,
  openSnapshot: () => ({ objects, prefix: 'snap' }),
  ledger,
  clock: { nowMillis: () => nowMillis },
  logger,
});

/** A session that keeps the statements of each BATCH and lets time pass. */
function session(): LoadRangePorts['target'] {
  return {
    protocolVersion: 5,
    query: async () => ({ columns: [], rows: [] }),
    prepare: async (text) => {
      if (!texts.includes(text)) texts.push(text);
      return { text, id: Uint8Array.of(texts.indexOf(text)) };
    },
    execute: async () => ({ columns: [], rows: [] }),
    batch: async () => undefined,
    sendBatch: async (body) => {
      nowMillis += 10;
      const bytes = Buffer.from(body);
      let at = 3;
      for (let left = bytes.readUInt16BE(1); left > 0; left--) {
        const text = texts[bytes[at + 3]!]!;
        const values: Buffer[] = [];
        let count = bytes.readUInt16BE(at + 4);
        at += 6;
        for (; count > 0; count--) {
          const length = Math.max(0, bytes.readInt32BE(at));
          values.push(bytes.subarray(at + 4, at + 4 + length));
          at += 4 + length;
        }
        written.push({ text, values });
      }
    },
    replicaSet: () => undefined,
    close: async () => undefined,
  };
}

async function plannedItems(runId: string, rangeMB = options.rangeMB): Promise<LoadItem[]> {
  const input = { keyspace: 'ks', snapshot: 's3://b/snap', trustCoverage: true, allowEarlySnapshot: true };
  const plan = await planLoad(runId, input, ports() as PlanLoadPorts, { ...options, rangeMB });
  return JSON.parse(new TextDecoder().decode(await objects.get(plan.planKey))) as LoadItem[];
}

async function planned(runId: string): Promise<LoadItem> {
  const items = await plannedItems(runId);
  expect(items).toHaveLength(1);
  return items[0]!;
}

const loadPorts = (): LoadRangePorts => ({
  ...ports(),
  target: session(),
  sleep: async (ms) => {
    nowMillis += ms;
  },
});

const rowWrites = () =>
  new Set(
    written
      .filter(({ text }) => !text.startsWith('DELETE'))
      .map(({ text, values }) => `${text} ${values.map((value) => value.toString('hex')).join()}`),
  );

/** Which deletion is in force at a place, by the statements that were sent. */
function deletionAt(pk: number, c1: number, c2: string): bigint {
  let best = 0n;
  for (const { text, values } of written) {
    if (!text.startsWith('DELETE')) continue;
    const conditions = [...text.slice(text.indexOf('WHERE')).matchAll(/(\w+) ?(=|<=|>=|<|>) ?\?/g)];
    const isIn = conditions.every(([, name, op], index) => {
      const value = values[values.length - conditions.length + index]!;
      const order =
        name === 'c2' ? Buffer.compare(Buffer.from(c2), value) : (name === 'pk' ? pk : c1) - decodeInt(value);
      return op === '='
        ? order === 0
        : op!.startsWith('<')
          ? order < 0 || (op === '<=' && order === 0)
          : order > 0 || (op === '>=' && order === 0);
    });
    const at = values[0]!.readBigInt64BE();
    if (isIn && at > best) best = at;
  }
  return best;
}

function deletions(): bigint[] {
  const all: bigint[] = [];
  for (let pk = 0; pk < 4; pk++) {
    for (let c1 = -32; c1 < 44; c1++) {
      for (const c2 of ['', 'kkkk', 'kkkkkkkkkk1', 'kkkkkkkkkkkkkkkkk', 'z']) all.push(deletionAt(pk, c1, c2));
    }
  }
  return all;
}

test.for(['4.1-nb-big', '5.0-da-bti'])(
  'a large partition of %s that outlasts its calls goes on behind a row, and nothing is left out, deletions neither',
  { timeout: 60_000 },
  async (release) => {
    snapshotOf(release);
    await loadRange({ item: await planned('r1'), ports: loadPorts() });
    const [rows, deleted] = [rowWrites(), deletions()];
    expect(rows.size).toBeGreaterThan(200);
    expect(new Set(deleted).size).toBeGreaterThan(20);
    await ledger.endRun('r1', 'stopped', new Date(nowMillis));
    written = [];
    let item: unknown = await planned('r2');
    const checkpoints: string[] = [];
    for (;;) {
      // Every call is late at once, and comes as far as it must.
      const result = await loadRange({ item, ports: loadPorts(), deadlineMillis: nowMillis - 1 });
      if (result.kind === 'done') break;
      checkpoints.push(result.checkpoint);
      expect(result.checkpoint.length).toBeLessThan(200);
      expect((await ledger.readRange('r2', 0))?.checkpoint).toBe(result.checkpoint);
      item = JSON.parse(JSON.stringify(result.item));
    }
    // Markers count like rows: with rows alone there are six.
    expect(checkpoints.filter((text) => text.includes(':')).length).toBeGreaterThan(8);
    expect(new Set(checkpoints).size).toBe(checkpoints.length);
    expect(rowWrites()).toEqual(rows);
    expect(deletions()).toEqual(deleted);
  },
);

test.for(['4.1-nb-big', '5.0-oa-big', '5.0-da-bti'])(
  'range deletions of %s that span the cuts of a partition cover the same when its slices are loaded apart',
  async (release) => {
    snapshotOf(release);
    await loadRange({ item: await planned('r1'), ports: loadPorts() });
    const [rows, deleted] = [rowWrites(), deletions()];
    await ledger.endRun('r1', 'stopped', new Date(nowMillis));
    for (const [run, rangeMB] of [0.002, 0.004, 0.007].entries()) {
      written = [];
      const items = await plannedItems(`s${run}`, rangeMB);
      expect(items.filter(({ slice }) => slice !== undefined).length).toBeGreaterThan(6);
      for (const item of items) await loadRange({ item, ports: loadPorts() });
      expect(rowWrites()).toEqual(rows);
      expect(deletions()).toEqual(deleted);
      await ledger.endRun(`s${run}`, 'stopped', new Date(nowMillis));
    }
  },
);

test('places survive being written down', () => {
  const values = fc.array(fc.option(fc.uint8Array({ maxLength: 40 })), { maxLength: 4 });
  fc.assert(
    fc.property(
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      fc.uint8Array(),
      values,
      (token, key, clustering) => {
        const row = { clustering: clusteringOf(clustering) } as Row;
        const place = placeBehind(row, key, token)!;
        const read = decodePlace(encodePlace(place));
        expect(read.token).toBe(token);
        expect(Buffer.from(read.inside!.key)).toEqual(Buffer.from(key));
        expect(read.inside!.bound.side).toBe(1);
        expect(read.inside!.bound.clustering.values().map((value) => value && [...value])).toEqual(
          clustering.map((value) => value && [...value]),
        );
        expect(decodePlace(encodePlace({ token }))).toEqual({ token });
      },
    ),
  );
});

test('a clustering that is too large for a checkpoint is not made one', () => {
  const row = { clustering: clusteringOf([new Uint8Array(60_000)]) } as Row;
  expect(placeBehind(row, new Uint8Array(4), 1n)).toBeUndefined();
});

test('of several places the furthest counts', () => {
  const inside = placeBehind({ clustering: clusteringOf([]) } as unknown as Row, Uint8Array.of(1), 5n)!;
  expect(furthestPlace([{ token: 5n }, inside, { token: 5n }])).toBe(inside);
  expect(furthestPlace([inside, { token: 6n }])).toEqual({ token: 6n });
});

test('what is no place is refused', () => {
  for (const text of ['', 'x', '1:', '1:AA', '1:AA:c', '1:AA:aAAA', '1:AA:aAAAACA']) {
    expect(() => decodePlace(text)).toThrow(RangeError);
  }
});
