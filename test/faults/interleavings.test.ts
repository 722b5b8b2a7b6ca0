/**
 * Live operations and the steps of a load, in every order: whatever happens when, both clusters end the same. A seed
 * chooses the triples of operations, and what becomes of the copies; `RINGSHIFT_SEED` takes that of a report.
 */
import { afterAll, expect, test } from 'vitest';
import { prepare } from '../../infra/local/prepare.ts';
import { Random } from '../integration/support/random.ts';
import { InterleavingBed, type InterleavingResult } from '../support/faults/interleaving-bed.ts';
import {
  caseNamed,
  exhaustiveTables,
  type InterleavedTable,
  pairwiseTables,
  randomTables,
} from '../support/faults/interleaving-cases.ts';
import { faultRunSettings } from '../support/faults/settings.ts';

const { seeds, interleavings, caseName } = faultRunSettings(process.env);
/** All orders are stepped with any seed, so the one that is drawn is enough. */
const seed = seeds.at(-1)!;
/** A round of random cases: many tables make many loads, and few make few orders. */
const RANDOM_ROUND = { tables: 25, casesEach: 100 };

let bed: InterleavingBed | undefined;

afterAll(() => bed?.close());

async function step(tables: readonly InterleavedTable[]): Promise<InterleavingResult> {
  const { java } = await prepare(() => undefined);
  bed = await InterleavingBed.open(java, seed);
  if (caseName !== null)
    bed.onSlot = (slot, rows) => process.stdout.write(`slot ${slot + 1}: ${JSON.stringify(rows)}\n`);
  const result = await bed.run(tables);
  await bed.close();
  bed = undefined;
  const { differences, seconds, ...counts } = result;
  const numbers = Object.entries(counts).map(([name, count]) => `${name} ${count.toLocaleString('en-US')}`);
  const times = Object.entries(seconds).map(([name, took]) => `${name} ${took.toFixed(1)} s`);
  process.stdout.write(
    `interleavings: seed ${seed} · ${numbers.join(' · ')} · differences ${differences.length} (${times.join(', ')})\n`,
  );
  // What has no clear outcome is excused from one comparison.
  expect(result.unknown).toBeLessThanOrEqual(result.cases / 50);
  return result;
}

test.runIf(interleavings.kind !== 'random')(
  `live operations and load steps in every order end in two equal clusters, seed ${seed}`,
  async () => {
    const chosen = () => (interleavings.kind === 'all' ? exhaustiveTables() : pairwiseTables(new Random(seed)));
    const tables = caseName === null ? chosen() : [caseNamed(caseName)];
    const result = await step(tables);
    expect(result.differences).toEqual([]);
    if (caseName !== null) return;
    // Nothing differs where nothing happens.
    expect(result.loads).toBeGreaterThan(0);
    expect(result.withheld).toBeGreaterThan(result.cases / 100);
    expect(result.replayed).toBeGreaterThan(0);
  },
);

test.runIf(interleavings.kind === 'random')(
  `longer random orders end in two equal clusters, seed ${seed}`,
  async () => {
    const random = new Random(seed);
    const wanted = interleavings.kind === 'random' ? interleavings.cases : 0;
    for (let stepped = 0; stepped < wanted; ) {
      const result = await step(randomTables(random, RANDOM_ROUND.tables, RANDOM_ROUND.casesEach));
      expect(result.differences).toEqual([]);
      stepped += result.cases;
    }
  },
);
