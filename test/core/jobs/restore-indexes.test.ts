import { beforeEach, expect, test } from 'vitest';
import { ClusterUnreachableError, ServerError } from '#core/errors.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import type { RestoreResult } from '#core/jobs/restore-indexes.ts';
import { changeSavedIndexes } from '#core/ledger/saved-indexes.ts';
import { definitions, IndexWorld, START } from '../../support/index-world.ts';

const ALL = ['t_a', 't_b', 'u_a', 'u_stays'];
let world: IndexWorld;

beforeEach(async () => {
  world = new IndexWorld();
  await world.startRun('r1');
});

/** Drops one index in half a minute and dies behind the next statement, which takes effect `lateMs` after that. */
async function dieBehindSecondDrop(lateMs: number): Promise<void> {
  let lateAt = Number.POSITIVE_INFINITY;
  let late = '';
  world.onChange = (statement) => {
    if (!statement.startsWith('DROP')) return;
    world.nowMillis += 30_000;
    if (world.drops().length === 0) return;
    late = statement;
    lateAt = world.nowMillis + lateMs;
    throw new Error('killed');
  };
  await expect(dropIndexes('r1', world.ports)).rejects.toThrow('killed');
  world.onChange = () => undefined;
  world.onSleep = (ms) => {
    if (world.nowMillis + ms < lateAt) return;
    lateAt = Number.POSITIVE_INFINITY;
    world.apply(late);
  };
}

test('a drop that takes effect a minute after its process died is waited for, however long ago the saving was', async () => {
  await dieBehindSecondDrop(60_000);
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
  expect(world.drops().length).toBe(2);
  expect(world.names()).toEqual(ALL);
  expect(await world.states()).toEqual(['t restored r1', 'u restored r1']);
});

test('a restore that dies while it waits leaves the waiting to the next one', async () => {
  await dieBehindSecondDrop(60_000);
  const { onSleep } = world;
  world.onSleep = () => {
    throw new Error('killed too');
  };
  await expect(world.restore({ runId: 'r1' })).rejects.toThrow('killed too');
  world.onSleep = onSleep;
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
  expect(world.drops().length).toBe(2);
  expect(world.names()).toEqual(ALL);
});

test('a restore whose time does not suffice for the waiting says that it is not through', async () => {
  await dieBehindSecondDrop(60_000);
  const result = await world.restore({ runId: 'r1' }, { deadlineMillis: world.nowMillis + 10_000 });
  expect(result.status).toBe('building');
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
  expect(world.names()).toEqual(ALL);
});

test('what a later load takes over is waited for as well', async () => {
  await dieBehindSecondDrop(60_000);
  await world.endRun('r1');
  await world.startRun('r2');
  await dropIndexes('r2', world.ports);
  world.present.set('t_b', { index: definitions[1]!, builtAt: 0 });
  expect(await world.restore({ runId: 'r2' })).toMatchObject({ status: 'done', built: 3 });
  // However much later: by now it has happened, or would now.
  await world.onSleep(120_000);
  expect(world.names()).toEqual(ALL);
});

test('a drop that comes after everything was restored is owed again before it is taken back', async () => {
  world.onChange = async (statement) => {
    if (!statement.startsWith('DROP') || world.drops().length === 0) return;
    // Stalled for so long that the restore is through.
    world.onChange = (text) => {
      if (text.startsWith('CREATE') && world.drops().length === 2) throw new ClusterUnreachableError('away');
    };
    expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done' });
  };
  await expect(dropIndexes('r1', world.ports)).rejects.toThrow(/being restored meanwhile/);
  expect(world.names()).toEqual(['t_a', 'u_a', 'u_stays']);
  expect(await world.states()).toEqual(['t restoring r1', 'u restored r1']);
  expect(await world.saved('t_b')).toMatchObject({ state: 'owed' });
  world.onChange = () => undefined;
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 2 });
  expect(world.names()).toEqual(ALL);
});

test('an index that was owed again during the last look is looked after once more', async () => {
  await dropIndexes('r1', world.ports);
  let isLate = false;
  const onLook = async ({ status }: RestoreResult) => {
    if (status !== 'done' || isLate) return;
    isLate = true;
    world.present.delete('t_a');
    await changeSavedIndexes(world.ledger.store, 'ks', 't', (found) => ({
      ...found!,
      indexes: found!.indexes.map((each) => (each.name === 't_a' ? { ...each, state: 'owed', createdAt: null } : each)),
    }));
  };
  // The memory store answers in the order of the calls, so the change is there before the record is marked.
  expect(await world.restore({ runId: 'r1' }, { onLook: (result) => void onLook(result) })).toMatchObject({
    status: 'done',
  });
  expect(isLate).toBe(true);
  expect(world.names()).toEqual(ALL);
});

test('an index whose creation fails again and again holds up none of the others, and has failed in the end', async () => {
  await dropIndexes('r1', world.ports);
  world.onChange = (statement) => {
    if (statement.includes(' t_a ')) throw new ServerError('java.lang.NullPointerException', 0x0000, true);
  };
  const first = await world.restore({ runId: 'r1' }, { deadlineMillis: world.nowMillis + 60_000 });
  expect(first).toMatchObject({ status: 'building', total: 3, built: 2 });
  expect(world.names()).toEqual(['t_b', 'u_a', 'u_stays']);
  expect(await world.saved('t_a')).toMatchObject({ state: 'owed', error: expect.stringContaining('NullPointer') });
  const last = await world.restore({ runId: 'r1' });
  expect(last).toMatchObject({ status: 'failed', built: 2 });
  // The time of the first call counts.
  expect(last.failed[0]?.error).toContain(`could not be created since ${new Date(START).toISOString()}: java.lang`);
  world.onChange = () => undefined;
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done' });
});

test('a creation that fails for a while is tried again until it succeeds', async () => {
  await dropIndexes('r1', world.ports);
  let failures = 3;
  world.onChange = () => {
    if (failures-- > 0) throw new ClusterUnreachableError('no schema agreement');
  };
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3, failed: [] });
  expect(await world.saved('t_a')).toMatchObject({ state: 'built', error: null });
});

test('what loads under way have dropped is left to them, and the rest is restored', async () => {
  await dropIndexes('r1', world.ports);
  await world.endRun('r1');
  await world.startRun('r2', 'other');
  await changeSavedIndexes(world.ledger.store, 'ks', 't', (found) => ({ ...found!, runId: 'r2' }));
  const result = await world.restore({ allOfEndedRuns: true });
  expect(result).toMatchObject({ status: 'done', total: 1, built: 1, leftToRuns: ['r2'] });
  expect(await world.states()).toEqual(['t dropped r2', 'u restored r1']);
  await expect(world.restore({ allOfEndedRuns: true })).rejects.toThrow(/load r2.*is under way/);
});

test('each look at the target is told, with what is built by then', async () => {
  await dropIndexes('r1', world.ports);
  const built: number[] = [];
  await world.restore({ runId: 'r1' }, { onLook: (result) => built.push(result.built) });
  expect(built[0]).toBe(0);
  expect(built.at(-1)).toBe(3);
});

test('a restore that is interrupted goes on with the next call', async () => {
  await dropIndexes('r1', world.ports);
  const abort = new AbortController();
  world.onSleep = () => abort.abort(new Error('interrupted'));
  await expect(world.restore({ runId: 'r1' }, { signal: abort.signal })).rejects.toThrow('interrupted');
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', built: 3 });
});
