import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { compileCache } from './test/cli/run-ringshift.ts';
import { LongestFirst } from './test/support/longest-first.ts';

// Hundreds of workers, proxies and commands load the same modules: they are compiled once.
process.env['NODE_COMPILE_CACHE'] ??= compileCache;

/** Asked for by `npm run test:faults`. */
const isLongRun = Boolean(process.env['RINGSHIFT_FAULT_MINUTES'] ?? process.env['RINGSHIFT_INTERLEAVINGS']);

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/integration/**', 'test/faults/**'],
          testTimeout: 120_000,
          expect: { poll: { timeout: 20_000 } },
          hookTimeout: 60_000,
          // Files that start a proxy wait more than they compute.
          maxWorkers: Math.max(4, 2 * availableParallelism()),
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: ['test/integration/global-setup.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          // They share two clusters, each file with keyspaces, roles and ports of its own. With a third one conditional
          // writes time out on two cores, and nothing is faster.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          globalSetup: ['test/integration/global-setup.ts'],
          // A bed that hangs must not hold a build; a long run says how long it is.
          testTimeout: isLongRun ? 24 * 3_600_000 : 15 * 60_000,
          hookTimeout: 900_000,
          // Each bed has both clusters to itself: it kills them.
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
