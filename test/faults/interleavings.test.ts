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
  randomTables,
} from '../support/faults/interleaving-cases.ts';
import { faultRunSettings } from '../support/faults/settings.ts';

const { seeds, interleavings, caseName } = faultRunSettings(process.env);
/** All orders are stepped with any seed, so the one that is drawn is enough. */
const seed = seeds.at(-1)!;
/** Of all triples in a bounded run. */
const SHARE_PERCENT = 20;
/** A round of random cases: many tables make many loads, and few make few orders. */
const RANDOM_ROUND = { tables: 25, casesEach: 100 };

let bed: InterleavingBed | undefined;

afterAll(() => bed?.stop());

async function step(tables: readonly InterleavedTable[]): Promise<InterleavingResult> {
  const { java } = await prepare(() => undefined);
  bed = new InterleavingBed(seed);
  if (caseName !== null)
    bed.onSlot = (slot, rows) => process.stdout.write(`slot ${slot + 1}: ${JSON.stringify(rows)}\n`);
  await bed.start(java);
  const result = await bed.run(tables);
  await bed.stop();
  bed = undefined;
  const { differences, ...counts } = result;
  const numbers = Object.entries(counts).map(([name, count]) => `${name} ${count.toLocaleString('en-US')}`);
  process.stdout.write(`interleavings: seed ${seed} · ${numbers.join(' · ')} · differences ${differences.length}\n`);
  return result;
}

test.runIf(interleavings.kind !== 'random')(
  `live operations and load steps in every order end in two equal clusters, seed ${seed}`,
  async () => {
    const percent = interleavings.kind === 'all' ? 100 : SHARE_PERCENT;
    const tables = caseName === null ? exhaustiveTables(new Random(seed), percent) : [caseNamed(caseName)];
    expect((await step(tables)).differences).toEqual([]);
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
