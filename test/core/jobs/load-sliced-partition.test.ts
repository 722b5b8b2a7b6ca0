import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import type { PlanLoadOptions, PlanLoadPorts } from '#core/jobs/load-planning.ts';
import { type LoadRangePorts, loadRange } from '#core/jobs/load-range.ts';
import { planLoad } from '#core/jobs/plan-load.ts';
import { summarizeRun } from '#core/jobs/summarize-run.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import { openSSTable } from '#core/sstable/sstable.ts';
import { fixture } from '../../golden/fixtures.ts';
import { tableSchemaOf } from '../../support/header-schema.ts';
import { createLoadSession } from '../../support/load-session.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { createMemoryObjectStore } from '../../support/memory-object-store.ts';

// Four partitions of some twenty index blocks in three SSTables, with range deletions over the blocks' borders.
const FOLDER = fileURLToPath(new URL('../../golden/sstables/', import.meta.url));
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const input = { keyspace: 'ks', snapshot: 's3://b/snap', trustCoverage: true, allowEarlySnapshot: true };

interface Statement {
  readonly text: string;
  readonly values: readonly Uint8Array[];
}

async function createWorld(release: string, table: string) {
  const [, version, format] = release.split('-');
  const title = `${release}/${table}/${version}-1-${format}`;
  const schema: TableSchema = { ...tableSchemaOf((await openSSTable(fixture(title).files)).header), table };
  const files = new Map<string, Uint8Array>();
  const folder = join(FOLDER, release, table);
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.db'))) {
    files.set(`snap/n1/ks/${table}-${'0'.repeat(32)}/${name}`, readFileSync(join(folder, name)));
  }
  const objects = createMemoryObjectStore(files);
  const ledger = createLedger(createMemoryLedgerStore());
  let nowMillis = Date.UTC(2027, 0, 1);
  let written: Statement[] = [];
  const ports = {
    readTarget: async () => ({ tables: [schema], views: [], indexes: [] }),
    objects,
    openSnapshot: () => ({ objects, prefix: 'snap' }),
    ledger,
    clock: { nowMillis: () => nowMillis },
    logger,
    target: createLoadSession(({ entries }) => {
      nowMillis += 10;
      for (const { text, values } of entries)
        written.push({ text, values: values.map((value) => value as Uint8Array) });
    }),
    sleep: async (ms: number) => {
      nowMillis += ms;
    },
  };
  return {
    ledger,
    loadPorts: ports as unknown as LoadRangePorts,
    now: () => nowMillis,
    summarize: (runId: string) => summarizeRun(runId, ports),
    taken(): Statement[] {
      const taken = written;
      written = [];
      return taken;
    },
    async plan(runId: string, rangeMB: number, resume?: string): Promise<LoadItem[]> {
      const options: PlanLoadOptions = {
        targetWriteMBps: 1000,
        tombstones: 'all',
        consistency: 'LOCAL_QUORUM',
        memoryBudgetMB: 64,
        rangeMB,
        maxConcurrency: 1,
        filterRules: null,
        indexes: 'rebuild',
        renames: { keyspaces: {}, tables: {} },
        by: 'test',
      };
      const plan = await planLoad(runId, { ...input, resume }, ports as unknown as PlanLoadPorts, options);
      return JSON.parse(new TextDecoder().decode(await objects.get(plan.planKey))) as LoadItem[];
    },
  };
}

/** Statements but range deletions, whose pieces differ from one way of cutting to another. */
const plain = (statements: readonly Statement[], primaryColumns: number) =>
  statements
    .filter(({ text }) => {
      const columns = text.slice(text.indexOf('WHERE')).split(' = ?').length - 1;
      return !text.startsWith('DELETE') || (!/[<>]/.test(text) && (columns === 1 || columns === primaryColumns));
    })
    .map(({ text, values }) => `${text} ${values.map((value) => value && Buffer.from(value).toString('hex')).join()}`)
    .sort();

const TABLES = ['4.1-nb-big', '5.0-oa-big', '5.0-da-bti'].flatMap((release) => [
  [release, 'blocks'] as const,
  [release, 'blocks_static'] as const,
]);

test.for(TABLES)(
  'of %s %s the slices of large partitions write what one range writes, and once',
  async ([release, table]) => {
    const whole = await createWorld(release, table);
    for (const item of await whole.plan('r1', 1024)) await loadRange({ item, ports: whole.loadPorts });
    const columns = table === 'blocks' ? 3 : 2;
    const expected = plain(whole.taken(), columns);
    expect(expected.length).toBeGreaterThan(200);

    const world = await createWorld(release, table);
    const items = await world.plan('r1', 0.004);
    const slices = items.filter(({ slice }) => slice !== undefined);
    expect(slices.length).toBeGreaterThan(10);
    // The items are the whole ring, each once; slices of a token begin where the last one ended.
    let end = String(-(2n ** 63n));
    for (const [index, item] of items.entries()) {
      const before = items[index - 1];
      if (item.slice?.from !== undefined) expect([before?.slice?.to, before?.end]).toEqual([item.slice.from, item.end]);
      else expect([before?.slice?.to, item.start]).toEqual([undefined, end]);
      end = item.end;
    }
    expect(end).toBe(String(2n ** 63n - 1n));
    // In any order.
    for (const item of items.toReversed()) await loadRange({ item, ports: world.loadPorts });
    expect(plain(world.taken(), columns)).toEqual(expected);
    const { status, doneRanges, totals } = await world.summarize('r1');
    expect({ status, doneRanges, partitions: totals['partitions'] }).toEqual({
      status: 'done',
      doneRanges: items.length,
      partitions: 4,
    });
  },
);

test.for(['4.1-nb-big', '5.0-da-bti'])(
  'slices of %s that stop inside go on there, also in a resumed load',
  async (release) => {
    const whole = await createWorld(release, 'blocks');
    for (const item of await whole.plan('r1', 1024)) await loadRange({ item, ports: whole.loadPorts });
    const expected = new Set(plain(whole.taken(), 3));

    const world = await createWorld(release, 'blocks');
    const items = await world.plan('r1', 0.006);
    const inside: string[] = [];
    for (const [index, item] of items.entries()) {
      if (index % 3 === 2) continue;
      const result = await loadRange({ item, ports: world.loadPorts, deadlineMillis: world.now() - 1 });
      if (result.kind === 'checkpoint' && item.slice !== undefined) inside.push(result.checkpoint);
    }
    expect(inside.filter((text) => text.includes(':')).length).toBeGreaterThan(0);
    await world.ledger.endRun('r1', 'stopped', new Date(world.now()));
    const rest = await world.plan('r2', 0.006, 'r1');
    expect(rest.length).toBeLessThan(items.length);
    for (const first of rest) {
      let item: unknown = first;
      for (;;) {
        const result = await loadRange({ item, ports: world.loadPorts, deadlineMillis: world.now() - 1 });
        if (result.kind === 'done') break;
        item = JSON.parse(JSON.stringify(result.item));
      }
    }
    expect(new Set(plain(world.taken(), 3))).toEqual(expected);
  },
);
