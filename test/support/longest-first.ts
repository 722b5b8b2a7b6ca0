import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Longest first; begun late, one of them would be what a run waits for at its end. */
const LONGEST = [
  'test/integration/aws-half.test.ts',
  'test/integration/load-counters.test.ts',
  'test/integration/driver-python.test.ts',
  'test/integration/load-live.test.ts',
  'test/integration/journal-outage.test.ts',
  'test/integration/ring.test.ts',
  'test/integration/load-proof.test.ts',
  'test/integration/replay-outage.test.ts',
  'test/integration/load-indexes.test.ts',
  'test/integration/driver-node.test.ts',
  'test/integration/cutover.test.ts',
  'test/integration/phase-flips.test.ts',
  'test/integration/kill-proxy.test.ts',
  'test/integration/load.test.ts',
  'test/integration/marks.test.ts',
  'test/integration/driver-rust.test.ts',
  'test/integration/driver-java.test.ts',
  'test/integration/driver-go.test.ts',
  'test/cli/bad-input.test.ts',
  'test/proxy-container/writes/list-order.test.ts',
  'test/core/jobs/window-shares.test.ts',
  'test/proxy-container/journal/journal.test.ts',
  'test/proxy-container/start.test.ts',
  'test/golden/slices.test.ts',
  'test/golden/sstabledump.test.ts',
  'test/core/sstable/wide-partition-memory.test.ts',
  'test/core/jobs/load-wide-partition.test.ts',
];

/** The order of test files: those that are known to take long, then as Vitest has them. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const placeOf = ({ moduleId, project }: TestSpecification): number => {
      const place = LONGEST.indexOf(relative(project.config.root, moduleId));
      return place < 0 ? LONGEST.length : place;
    };
    return (await super.sort(files)).sort((one, other) => placeOf(one) - placeOf(other));
  }
}
