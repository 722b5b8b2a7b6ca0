/**
 * `npm run test:faults`: the test beds that look for lost writes, as short as in `npm test` or as long as one likes.
 * What it is asked for reaches the tests by the environment (`test/support/faults/settings.ts`).
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { abortOnSignals } from './interruption.ts';
import { projectEnvironment, projectRoot } from './paths.ts';

const USAGE = `usage: npm run test:faults -- [options]
  --seed N[,N…]            the seed of a report (default: a fixed one, and one that is drawn)
  --minutes N              how long faults are made for each seed (default: as in npm test)
  --only NAMES             faults, interleavings or bed-finds, or kinds of faults: kill-proxy,disk-full
  --interleavings WHICH    share (default), all, or random:COUNT for longer orders
  --case SHAPE/ORDER/KIND… steps one case of the interleavings alone and prints what each slot leaves`;

const BEDS = ['faults', 'interleavings', 'bed-finds'];

function readArguments(args: readonly string[]): Readonly<Record<string, string | undefined>> {
  const option = { type: 'string' } as const;
  const options = { seed: option, minutes: option, only: option, interleavings: option, case: option };
  try {
    return parseArgs({ args: [...args], options, strict: true }).values;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
    process.exit(2);
  }
}

if (process.argv.includes('--help')) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(0);
}
const given = readArguments(process.argv.slice(2));
const names = given['only']?.split(',') ?? [];
const beds = new Set(names.map((name) => (BEDS.includes(name) ? name : 'faults')));
const kinds = names.filter((name) => !BEDS.includes(name));
if (given['interleavings'] !== undefined || given['case'] !== undefined) beds.add('interleavings');
const environment = {
  RINGSHIFT_SEED: given['seed'],
  RINGSHIFT_FAULT_MINUTES: given['minutes'],
  RINGSHIFT_FAULT_ONLY: kinds.length > 0 ? kinds.join(',') : undefined,
  RINGSHIFT_INTERLEAVINGS: given['interleavings'],
  RINGSHIFT_CASE: given['case'],
};
const set = Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined);
const files = [...beds].map((bed) => `test/faults/${bed}.test.ts`);

const { signal } = abortOnSignals();
const child = spawn('vitest', ['run', '--project', 'faults', ...files], {
  cwd: projectRoot,
  env: projectEnvironment(Object.fromEntries(set)),
  stdio: 'inherit',
});
signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
child.once('error', () => {
  process.exitCode = 127;
});
child.once('exit', (code) => {
  process.exitCode = code ?? 1;
});
