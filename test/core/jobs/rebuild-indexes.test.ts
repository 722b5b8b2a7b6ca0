import { beforeEach, expect, test } from 'vitest';
import { ClusterUnreachableError, PrerequisiteError, ServerError } from '#core/errors.ts';
import { dropIndexes, type IndexPorts } from '#core/jobs/drop-indexes.ts';
import { type RestoreOptions, type RestoreScope, restoreIndexes } from '#core/jobs/restore-indexes.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { RunRecord } from '#core/ledger/records.ts';
import { listSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { createIndexStatement, dropIndexStatement, type IndexDefinition } from '#core/model/index-definition.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const START = Date.UTC(2026, 0, 1);
const index = (table: string, name: string, column = 'a'): IndexDefinition => ({
  keyspace: 'ks',
  table,
  name,
  kind: 'COMPOSITES',
  options: { target: column },
});
const definitions = [index('t', 't_a'), index('t', 't_b', 'b'), index('u', 'u_a'), index('u', 'u_stays', 'c')];
const wanted = ['t_a', 't_b', 'u_a'];

let ledger: Ledger;
let nowMillis: number;
/** The target: what exists, and when it is built. */
let present: Map<string, { index: IndexDefinition; builtAt: number }>;
let statements: string[];
let mostBuilding: number;
/** Called before each statement; throws to fail it. */
let onChange: (statement: string) => void | Promise<void>;
let buildMs: number;

beforeEach(() => {
  ledger = createLedger(createMemoryLedgerStore());
  nowMillis = START;
  present = new Map(definitions.map((each) => [each.name, { index: each, builtAt: 0 }]));
  statements = [];
  mostBuilding = 0;
  onChange = () => undefined;
  buildMs = 5000;
});

const ports = (): IndexPorts => ({
  ledger,
  clock: { nowMillis: () => nowMillis },
  logger: { debug() {}, info() {}, warn() {}, error() {} },
  sleep: async (ms) => {
    nowMillis += ms;
  },
  indexes: {
    list: async () => [...present.values()].map((each) => each.index),
    async change(statement) {
      await onChange(statement);
      statements.push(statement);
      for (const each of definitions) {
        if (statement === dropIndexStatement(each)) present.delete(each.name);
        if (statement !== createIndexStatement(each) || present.has(each.name)) continue;
        present.set(each.name, { index: each, builtAt: nowMillis + buildMs });
        const building = [...present.values()].filter(({ builtAt }) => builtAt > nowMillis).length;
        mostBuilding = Math.max(mostBuilding, building);
      }
    },
    built: async () =>
      new Set([...present.values()].filter((each) => each.builtAt <= nowMillis).map((each) => each.index.name)),
  },
});

async function startRun(runId: string, keyspace = 'ks'): Promise<void> {
  const record: RunRecord = {
    version: 1,
    runId,
    kind: 'load',
    keyspace,
    tables: ['t', 'u'],
    state: 'running',
    startedAt: new Date(nowMillis).toISOString(),
    endedAt: null,
    rangeCount: 1,
    totalBytes: 0,
    rebuildIndexes: definitions
      .filter(({ name }) => wanted.includes(name))
      .map(({ keyspace, table, name }) => ({ keyspace, table, name })),
    input: {},
  };
  await ledger.startRun(record);
}

const endRun = (runId: string) => ledger.endRun(runId, 'failed', new Date(nowMillis));
const restore = (scope: RestoreScope, change: Partial<RestoreOptions> = {}) =>
  restoreIndexes(scope, ports(), { buildsAtOnce: 2, buildTimeoutMs: 3_600_000, ...change });
const names = () => [...present.keys()].sort();
const states = async () =>
  (await listSavedIndexes(ledger.store)).map(({ table, state, runId }) => `${table} ${state} ${runId}`);
const drops = () => statements.filter((text) => text.startsWith('DROP'));

test('every definition is in the ledger before the first index is dropped, and only the chosen ones are', async () => {
  await startRun('r1');
  let savedAtFirstDrop: string[] | undefined;
  onChange = async (statement) => {
    if (!statement.startsWith('DROP')) return;
    savedAtFirstDrop ??= (await listSavedIndexes(ledger.store)).flatMap(({ indexes }) =>
      indexes.map(({ statement: text }) => text),
    );
  };
  expect(await dropIndexes('r1', ports())).toEqual({ dropped: 3 });
  expect(savedAtFirstDrop).toEqual(definitions.slice(0, 3).map(createIndexStatement));
  expect(names()).toEqual(['u_stays']);
  expect(await states()).toEqual(['t dropped r1', 'u dropped r1']);
});

test('afterwards all are back and built, never more than allowed at a time', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  expect(await restore({ runId: 'r1' })).toEqual({ status: 'done', total: 3, built: 3, failed: [], leftToRuns: [] });
  expect(names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
  expect(mostBuilding).toBe(2);
  expect(await states()).toEqual(['t restored r1', 'u restored r1']);
  expect(await restore({ runId: 'r1' })).toMatchObject({ status: 'done', total: 0 });
});

test('a missing permission is found before anything is dropped, and named with its remedy', async () => {
  await startRun('r1');
  onChange = (statement) => {
    if (statement.includes('ks.u'))
      throw new ServerError('User r has no ALTER permission on <table ks.u>', 0x2100, false);
  };
  const refused = dropIndexes('r1', ports());
  await expect(refused).rejects.toThrow(PrerequisiteError);
  await expect(refused).rejects.toThrow(/ALTER ON KEYSPACE ks.*--skip-indexes/);
  expect(drops()).toEqual([]);
  expect(await listSavedIndexes(ledger.store)).toEqual([]);
});

test('a permission to see what is built is needed too, before anything is dropped', async () => {
  await startRun('r1');
  const real = ports();
  const built = async () => {
    throw new ServerError('no SELECT permission on <table system.IndexInfo>', 0x2100, false);
  };
  await expect(dropIndexes('r1', { ...real, indexes: { ...real.indexes, built } })).rejects.toThrow(
    /GRANT SELECT ON system/,
  );
  expect(drops()).toEqual([]);
});

test.each([0, 1, 2])('a crash after %i drops leaves all definitions, and both ways out of it work', async (before) => {
  for (const goesOn of [true, false]) {
    ledger = createLedger(createMemoryLedgerStore());
    present = new Map(definitions.map((each) => [each.name, { index: each, builtAt: 0 }]));
    statements = [];
    await startRun('r1');
    onChange = (statement) => {
      if (statement.startsWith('DROP') && drops().length === before) throw new ClusterUnreachableError('crash');
    };
    await expect(dropIndexes('r1', ports())).rejects.toThrow('crash');
    onChange = () => undefined;
    if (goesOn) {
      await dropIndexes('r1', ports());
      expect(names()).toEqual(['u_stays']);
      expect(await states()).toEqual(['t dropped r1', 'u dropped r1']);
    }
    await endRun('r1');
    expect(await restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 3, built: 3 });
    expect(names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
  }
});

test('a restore that crashes after any of its creations can be run again', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  for (let crashAt = 0; crashAt < 3; crashAt++) {
    onChange = () => {
      if (present.size === 1 + crashAt) throw new Error('crash');
    };
    await expect(restore({ runId: 'r1' })).rejects.toThrow('crash');
  }
  onChange = () => undefined;
  expect(await restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
});

test('a drop that is still under way when a restore begins drops nothing more', async () => {
  await startRun('r1');
  let wasRestored = false;
  onChange = async (statement) => {
    if (!statement.startsWith('DROP') || wasRestored || drops().length === 0) return;
    wasRestored = true;
    await restore({ runId: 'r1' });
  };
  await expect(dropIndexes('r1', ports())).rejects.toThrow(/being restored/);
  // The restore waits for the one that is on its way; one that came even later is taken back.
  expect(nowMillis - START).toBeGreaterThanOrEqual(90_000);
  expect(drops().length).toBe(2);
  expect(names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
});

test('before its deadline a restore returns what it has seen, and the next call goes on', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  buildMs = 60_000;
  const first = await restore({ runId: 'r1' }, { deadlineMillis: nowMillis + 10_000 });
  expect(first).toMatchObject({ status: 'building', total: 3, built: 0 });
  expect(await states()).toEqual(['t restoring r1', 'u restoring r1']);
  expect(await restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
  expect(statements.filter((text) => text.startsWith('CREATE INDEX IF NOT EXISTS t_a')).length).toBe(2);
});

test('one index that the server refuses holds up none of the others, and is tried again by the next restore', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  onChange = (statement) => {
    if (statement.includes(' t_a ')) throw new ServerError('unknown column a', 0x2200, false);
  };
  const result = await restore({ runId: 'r1' });
  expect(result).toMatchObject({ status: 'failed', total: 3, built: 2 });
  expect(result.failed).toEqual([{ index: 't_a on ks.t', error: 'unknown column a' }]);
  expect(await states()).toEqual(['t restoring r1', 'u restored r1']);
  onChange = () => undefined;
  await endRun('r1');
  expect(await restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 2, built: 2 });
});

test('an index of the same name but another definition is reported, not replaced', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  present.set('t_a', { index: index('t', 't_a', 'other'), builtAt: 0 });
  const result = await restore({ runId: 'r1' });
  expect(result.status).toBe('failed');
  expect(result.failed[0]?.error).toMatch(/another index of this name \(.*\(other\)\).*ON ks.t \(a\)/);
  expect(present.get('t_a')?.index.options).toEqual({ target: 'other' });
});

test('an index that no node ever finishes is given up after the time-out, with the remedy', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  buildMs = Number.POSITIVE_INFINITY;
  const result = await restore({ runId: 'r1' }, { buildTimeoutMs: 60_000 });
  expect(result).toMatchObject({ status: 'failed', built: 0 });
  expect(result.failed.length).toBe(3);
  expect(result.failed[0]?.error).toContain('nodetool rebuild_index ks t t_a');
});

test('what a running load has dropped belongs to it; of one that has ended the next load takes it over', async () => {
  await startRun('r1');
  await dropIndexes('r1', ports());
  await expect(restore({ allOfEndedRuns: true })).rejects.toThrow(/load r1.*is under way/);
  // Another keyspace's run can't own the same tables, but nothing but this rule stops one that was forced.
  await startRun('r2', 'other');
  present.set('t_a', { index: definitions[0]!, builtAt: 0 });
  await expect(dropIndexes('r2', ports())).rejects.toThrow(/load r1, which is under way/);
  await ledger.endRun('r1', 'failed', new Date(nowMillis));
  await dropIndexes('r2', ports());
  expect(await states()).toEqual(['t dropped r2', 'u dropped r2']);
  expect((await listSavedIndexes(ledger.store))[0]?.indexes.map(({ name }) => name).sort()).toEqual(['t_a', 't_b']);
  await ledger.endRun('r2', 'done', new Date(nowMillis));
  expect(await restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 3, built: 3 });
});

test('a load that has ended drops nothing any more', async () => {
  await startRun('r1');
  await endRun('r1');
  await expect(dropIndexes('r1', ports())).rejects.toThrow(/not under way/);
  expect(statements).toEqual([]);
});
