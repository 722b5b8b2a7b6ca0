import { beforeEach, expect, test } from 'vitest';
import { ClusterUnreachableError, PrerequisiteError, ServerError } from '#core/errors.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import { listSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { createIndexStatement } from '#core/model/index-definition.ts';
import { definitions, IndexWorld, index, START } from '../../support/index-world.ts';

let world: IndexWorld;

beforeEach(() => {
  world = new IndexWorld();
});

test('every definition is in the ledger before the first index is dropped, and only the chosen ones are', async () => {
  await world.startRun('r1');
  let savedAtFirstDrop: string[] | undefined;
  world.onChange = async (statement) => {
    if (!statement.startsWith('DROP')) return;
    savedAtFirstDrop ??= (await listSavedIndexes(world.ledger.store)).flatMap(({ indexes }) =>
      indexes.map(({ statement: text }) => text),
    );
  };
  expect(await dropIndexes('r1', world.ports)).toEqual({ dropped: 3 });
  expect(savedAtFirstDrop).toEqual(definitions.slice(0, 3).map(createIndexStatement));
  expect(world.names()).toEqual(['u_stays']);
  expect(await world.states()).toEqual(['t dropped r1', 'u dropped r1']);
});

test('afterwards all are back and built, never more than allowed at a time', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  expect(await world.restore({ runId: 'r1' })).toEqual({
    status: 'done',
    total: 3,
    built: 3,
    failed: [],
    leftToRuns: [],
  });
  expect(world.names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
  expect(world.mostBuilding).toBe(2);
  expect(await world.states()).toEqual(['t restored r1', 'u restored r1']);
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', total: 0 });
});

test('a missing permission is found before anything is dropped, and named with its remedy', async () => {
  await world.startRun('r1');
  world.onChange = (statement) => {
    if (statement.includes('ks.u'))
      throw new ServerError('User r has no ALTER permission on <table ks.u>', 0x2100, false);
  };
  const refused = dropIndexes('r1', world.ports);
  await expect(refused).rejects.toThrow(PrerequisiteError);
  await expect(refused).rejects.toThrow(/ALTER ON KEYSPACE ks.*--skip-indexes/);
  expect(world.drops()).toEqual([]);
  expect(await listSavedIndexes(world.ledger.store)).toEqual([]);
});

test('a permission to see what is built is needed too, before anything is dropped', async () => {
  await world.startRun('r1');
  const real = world.ports;
  const built = async () => {
    throw new ServerError('no SELECT permission on <table system.IndexInfo>', 0x2100, false);
  };
  await expect(dropIndexes('r1', { ...real, indexes: { ...real.indexes, built } })).rejects.toThrow(
    /GRANT SELECT ON system/,
  );
  expect(world.drops()).toEqual([]);
});

test.each([0, 1, 2])('a crash after %i drops leaves all definitions, and both ways out of it work', async (before) => {
  for (const goesOn of [true, false]) {
    world = new IndexWorld();
    await world.startRun('r1');
    world.onChange = (statement) => {
      if (statement.startsWith('DROP') && world.drops().length === before) throw new ClusterUnreachableError('crash');
    };
    await expect(dropIndexes('r1', world.ports)).rejects.toThrow('crash');
    world.onChange = () => undefined;
    if (goesOn) {
      await dropIndexes('r1', world.ports);
      expect(world.names()).toEqual(['u_stays']);
      expect(await world.states()).toEqual(['t dropped r1', 'u dropped r1']);
    }
    await world.endRun('r1');
    expect(await world.restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 3, built: 3 });
    expect(world.names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
  }
});

test('a restore that crashes after any of its creations can be run again', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  for (let crashAt = 0; crashAt < 3; crashAt++) {
    world.onChange = () => {
      if (world.present.size === 1 + crashAt) throw new Error('crash');
    };
    await expect(world.restore({ runId: 'r1' })).rejects.toThrow('crash');
  }
  world.onChange = () => undefined;
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
});

test('a drop that is still under way when a restore begins drops nothing more', async () => {
  await world.startRun('r1');
  let wasRestored = false;
  world.onChange = async (statement) => {
    if (!statement.startsWith('DROP') || wasRestored || world.drops().length === 0) return;
    wasRestored = true;
    await world.restore({ runId: 'r1' });
  };
  await expect(dropIndexes('r1', world.ports)).rejects.toThrow(/being restored/);
  // The restore waits for the one that is on its way; one that came even later is taken back.
  expect(world.nowMillis - START).toBeGreaterThanOrEqual(90_000);
  expect(world.drops().length).toBe(2);
  expect(world.names()).toEqual(['t_a', 't_b', 'u_a', 'u_stays']);
});

test('before its deadline a restore returns what it has seen, and the next call goes on', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  world.buildMs = 60_000;
  const first = await world.restore({ runId: 'r1' }, { deadlineMillis: world.nowMillis + 10_000 });
  expect(first).toMatchObject({ status: 'building', total: 3, built: 0 });
  expect(await world.states()).toEqual(['t restoring r1', 'u restoring r1']);
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
  expect(world.statements.filter((text) => text.startsWith('CREATE INDEX IF NOT EXISTS t_a')).length).toBe(2);
});

test('one index that the server refuses holds up none of the others, and is tried again by the next restore', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  world.onChange = (statement) => {
    if (statement.includes(' t_a ')) throw new ServerError('unknown column a', 0x2200, false);
  };
  const result = await world.restore({ runId: 'r1' });
  expect(result).toMatchObject({ status: 'failed', total: 3, built: 2 });
  expect(result.failed).toEqual([{ index: 't_a on ks.t', error: 'unknown column a' }]);
  expect(await world.states()).toEqual(['t restoring r1', 'u restored r1']);
  world.onChange = () => undefined;
  await world.endRun('r1');
  expect(await world.restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 2, built: 2 });
});

test('an index of the same name but another definition is reported, not replaced', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  world.present.set('t_a', { index: index('t', 't_a', 'other'), builtAt: 0 });
  const result = await world.restore({ runId: 'r1' });
  expect(result.status).toBe('failed');
  expect(result.failed[0]?.error).toMatch(/another index of this name \(.*\(other\)\).*ON ks.t \(a\)/);
  expect(world.present.get('t_a')?.index.options).toEqual({ target: 'other' });
});

test('an index that no node ever finishes is given up after the time-out, with the remedy', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  world.buildMs = Number.POSITIVE_INFINITY;
  const result = await world.restore({ runId: 'r1' }, { buildTimeoutMs: 60_000 });
  expect(result).toMatchObject({ status: 'failed', built: 0 });
  expect(result.failed.length).toBe(3);
  expect(result.failed[0]?.error).toContain('nodetool rebuild_index ks t t_a');
});

test('what a running load has dropped belongs to it; of one that has ended the next load takes it over', async () => {
  await world.startRun('r1');
  await dropIndexes('r1', world.ports);
  await expect(world.restore({ allOfEndedRuns: true })).rejects.toThrow(/load r1.*is under way/);
  // Another keyspace's run can't own the same tables, but nothing but this rule stops one that was forced.
  await world.startRun('r2', 'other');
  world.present.set('t_a', { index: definitions[0]!, builtAt: 0 });
  await expect(dropIndexes('r2', world.ports)).rejects.toThrow(/load r1, which is under way/);
  await world.ledger.endRun('r1', 'failed', new Date(world.nowMillis));
  await dropIndexes('r2', world.ports);
  expect(await world.states()).toEqual(['t dropped r2', 'u dropped r2']);
  expect((await listSavedIndexes(world.ledger.store))[0]?.indexes.map(({ name }) => name).sort()).toEqual([
    't_a',
    't_b',
  ]);
  await world.ledger.endRun('r2', 'done', new Date(world.nowMillis));
  expect(await world.restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 3, built: 3 });
});

test('a load that has ended drops nothing any more', async () => {
  await world.startRun('r1');
  await world.endRun('r1');
  await expect(dropIndexes('r1', world.ports)).rejects.toThrow(/not under way/);
  expect(world.statements).toEqual([]);
});
