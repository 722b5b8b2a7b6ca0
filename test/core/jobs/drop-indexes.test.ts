import { beforeEach, expect, test } from 'vitest';
import { ServerError } from '#core/errors.ts';
import { dropIndexes } from '#core/jobs/drop-indexes.ts';
import { forgetIndex } from '#core/jobs/forget-index.ts';
import { activateProposal, proposePhase } from '#core/ledger/phase-change.ts';
import { IndexWorld, index, START } from '../../support/index-world.ts';

const ALL = ['t_a', 't_b', 'u_a', 'u_stays'];
let world: IndexWorld;

beforeEach(async () => {
  world = new IndexWorld();
  await world.startRun('r1');
});

test.each(['proposed', 'active'])('nothing is dropped when target-primary is %s since the plan', async (step) => {
  const { ledger } = world;
  await ledger.initPhase('dual-sync', 'test', new Date(START));
  let isChanged = false;
  // While the rights are tried, which is behind the plan and before the first drop.
  world.onChange = async () => {
    if (isChanged) return;
    isChanged = true;
    const who = { by: 'test', why: '', now: new Date(START) };
    await ledger.changePhase((record) => proposePhase(record, 'target-primary', who));
    if (step === 'active') await ledger.changePhase((record) => activateProposal(record, new Date(START)));
  };
  await expect(dropIndexes('r1', world.ports)).rejects.toThrow(/target-primary.*serves the reads/);
  expect(world.drops()).toEqual([]);
  expect(world.names()).toEqual(ALL);
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done' });
});

test('what is owed is never replaced by another definition of its name, until it is given up', async () => {
  await dropIndexes('r1', world.ports);
  await world.endRun('r1');
  world.present.set('t_a', { index: index('t', 't_a', 'other'), builtAt: 0 });
  await world.startRun('r2');
  const refused = dropIndexes('r2', world.ports);
  await expect(refused).rejects.toThrow(/t_a is owed as: .*ks\.t \(a\); on the target it is now: .*\(other\)/);
  await expect(refused).rejects.toThrow(/ringshift indexes forget ks\.t t_a/);
  expect(await world.saved('t_a')).toMatchObject({ state: 'owed', options: { target: 'a' } });
  await forgetIndex('ks', 't', 't_a', world.ledger);
  await dropIndexes('r2', world.ports);
  expect(await world.saved('t_a')).toMatchObject({ state: 'owed', options: { target: 'other' } });
});

test('what an ended load still owes is taken over by the next one, though the target no longer has it', async () => {
  await dropIndexes('r1', world.ports);
  await world.endRun('r1');
  await world.startRun('r2');
  expect(await dropIndexes('r2', world.ports)).toEqual({ dropped: 0 });
  expect(await world.states()).toEqual(['t dropped r2', 'u dropped r2']);
  expect(await world.restore({ runId: 'r2' })).toMatchObject({ status: 'done', total: 3, built: 3 });
  expect(world.names()).toEqual(ALL);
});

test('an index that was redefined in a form that is not understood stays, and the others are dropped', async () => {
  world.present.set('t_a', { index: index('t', 't_a', '{"pk":["a"],"ck":["b"]}'), builtAt: 0 });
  expect(await dropIndexes('r1', world.ports)).toEqual({ dropped: 2 });
  expect(world.statements).not.toContain(undefined);
  expect(world.names()).toEqual(['t_a', 'u_stays']);
});

test('an interrupt between two drops ends the dropping, and the restore need not wait for any', async () => {
  const abort = new AbortController();
  world.onChange = (statement) => {
    if (statement.startsWith('DROP')) abort.abort(new Error('interrupted'));
  };
  await expect(dropIndexes('r1', world.ports, abort.signal)).rejects.toThrow('interrupted');
  expect(world.drops().length).toBe(1);
  expect(await world.restore({ runId: 'r1' })).toMatchObject({ status: 'done', total: 3 });
  expect(world.nowMillis - START).toBeLessThan(60_000);
  expect(world.names()).toEqual(ALL);
});

test('an index is given up only when it is owed and its load has ended', async () => {
  const forget = (name: string) => forgetIndex('ks', 't', name, world.ledger);
  await expect(forget('t_a')).rejects.toThrow(/is not owed/);
  await dropIndexes('r1', world.ports);
  await expect(forget('t_a')).rejects.toThrow(/load r1.*is under way/);
  await world.endRun('r1');
  await expect(forget('nothing')).rejects.toThrow(/is not owed/);
  expect((await forget('t_a')).statement).toContain('t_a ON ks.t (a)');
  expect(await world.restore({ allOfEndedRuns: true })).toMatchObject({ status: 'done', total: 2, built: 2 });
  expect(world.names()).toEqual(['t_b', 'u_a', 'u_stays']);
});

test('a table whose last missing index is given up owes nothing any more', async () => {
  await dropIndexes('r1', world.ports);
  await world.endRun('r1');
  world.onChange = (statement) => {
    if (statement.includes(' t_b ')) throw new ServerError('the column is gone', 0x2200, false);
  };
  expect(await world.restore({ allOfEndedRuns: true })).toMatchObject({ status: 'failed', built: 2 });
  await forgetIndex('ks', 't', 't_b', world.ledger);
  expect(await world.states()).toEqual(['t restored r1', 'u restored r1']);
});
