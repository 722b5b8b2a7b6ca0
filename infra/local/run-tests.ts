/**
 * `npm test`: the checks (each counts as one test), the unit tests, the integration tests and the test beds, one after
 * another, and one last line of totals. All run even when an early one fails.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { abortOnSignals } from './interruption.ts';
import { cacheRoot, projectEnvironment, projectRoot } from './paths.ts';
import { addTotals, type Totals, totalsLine, vitestTotals } from './test-totals.ts';

const { signal } = abortOnSignals();

/** Runs a command on our terminal; what it prints is the report that people read. */
function run(command: string, args: readonly string[], extra: Readonly<Record<string, string>> = {}): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], { cwd: projectRoot, env: projectEnvironment(extra), stdio: 'inherit' });
    const stop = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    child.once('error', () => resolve(127));
    child.once('exit', (code) => {
      signal.removeEventListener('abort', stop);
      resolve(code ?? 1);
    });
  });
}

async function check(name: string, script: string): Promise<Totals> {
  const code = await run('npm', ['run', '--silent', script]);
  process.stdout.write(`${code === 0 ? 'passed' : 'FAILED'}: ${name}\n`);
  return code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

async function vitest(project: string, extra: Readonly<Record<string, string>> = {}): Promise<Totals> {
  const folder = join(cacheRoot, 'test-reports');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${project}.json`);
  rmSync(file, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
  const code = await run('vitest', ['run', '--project', project, ...reporters], extra);
  let text: string | undefined;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    text = undefined; // vitest ended before it wrote one, which vitestTotals counts
  }
  return vitestTotals(text, code);
}

const steps: readonly (() => Promise<Totals>)[] = [
  () => check('lint, format and import direction', 'check:lint'),
  () => check('types', 'check:types'),
  () => check('unused code and dependencies', 'check:unused'),
  () => vitest('unit'),
  () => vitest('integration'),
  // What one build finds the next one finds too; `npm run test:faults` draws seeds.
  () => vitest('faults', { RINGSHIFT_SEED: process.env['RINGSHIFT_SEED'] ?? 'fixed' }),
];

const totals: Totals[] = [];
for (const step of steps) {
  if (signal.aborted) {
    totals.push({ passed: 0, failed: 1 });
    break;
  }
  totals.push(await step());
}
const sum = addTotals(totals);
process.stdout.write(`${totalsLine(sum)}\n`);
process.exitCode = sum.failed === 0 && sum.passed > 0 ? 0 : 1;
