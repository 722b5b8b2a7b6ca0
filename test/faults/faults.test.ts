/**
 * Three proxies between two clusters while processes die, connections break, disks fill and AWS fails: what an
 * application was told to be written is on both clusters in the end, once, or marked where nobody can know.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { prepare } from '../../infra/local/prepare.ts';
import { runFaults } from '../support/faults/fault-run.ts';
import { FaultWorld } from '../support/faults/fault-world.ts';
import { faultKinds } from '../support/faults/plan.ts';
import { faultRunSettings } from '../support/faults/settings.ts';

const { seeds, minutes, only } = faultRunSettings(process.env);
const BOUNDED_MS = 25_000;
/** Of a round in a long run: the faults of one have ends that those of the next do not see. */
const ROUND_MS = 60_000;
const lastsMs = minutes > 0 ? ROUND_MS : BOUNDED_MS;
const rounds = Math.max(1, Math.round((minutes * 60_000) / ROUND_MS));
const kinds = faultKinds.filter((kind) => only === null || only.includes(kind));

/** Also on a busy machine. */
const LEAST_ACKNOWLEDGED = 100;

let world: FaultWorld;

beforeAll(async () => {
  const { java } = await prepare(() => undefined);
  world = new FaultWorld({ java });
  await world.start();
  process.stdout.write(`start took: ${world.times}\n`);
});

afterAll(() => world?.stop());

test.each(seeds)('nothing that was acknowledged is lost or doubled, seed %i', async (seed) => {
  const run = await runFaults(world, {
    ...{ seed, lastsMs, rounds, kinds },
    changesPhase: true,
  });
  expect(run.silent.slice(0, 10), 'differs, and nobody knows').toEqual([]);
  expect(run.lost.slice(0, 10)).toEqual([]);
  expect(run.duplicated.slice(0, 10)).toEqual([]);
  expect(run.faults.slice(0, 10), 'what no application would expect').toEqual([]);
  // Nothing is found where nothing happens.
  expect(run.missing, 'faults that were not made').toEqual([]);
  expect(run.acknowledged).toBeGreaterThan(LEAST_ACKNOWLEDGED);
  expect(run.reads).toBeGreaterThan(0);
  if (only === null) expect(run.replayed).toBeGreaterThan(0);
});
