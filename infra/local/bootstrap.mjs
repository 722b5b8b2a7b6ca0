// Entry of `npm run demo` and `npm test` on a fresh clone. Plain JavaScript without dependencies: it must run on any
// Node >= 20 before a single module is installed. What it starts runs on the Node that npm installs.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeMissing, missingPrerequisites } from './prerequisites.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const programs = {
  demo: 'infra/local/demo/main.ts',
  test: 'infra/local/run-tests.ts',
  faults: 'infra/local/run-faults.ts',
  prepare: 'infra/local/prepare.ts',
};

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

/** npm writes this hidden lock last, so it is absent or old after an install that did not finish. */
function modulesAreCurrent() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed) || !existsSync(join(root, 'node_modules', '.bin', 'node'))) return false;
  return statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs;
}

function installModules() {
  if (modulesAreCurrent()) return;
  const started = Date.now();
  process.stdout.write('Installing node modules (npm ci) …\n');
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: 'inherit',
  });
  if (result.error || result.status !== 0) {
    fail(
      'npm ci failed (its own message is above). Check the network and the registry settings, then run the same command again.',
    );
  }
  process.stdout.write(`Node modules installed in ${((Date.now() - started) / 1000).toFixed(0)} s\n`);
}

/** Runs a program of the project and resolves to its exit code; it gets the signals that we get. */
function run(program, args) {
  const path = `${join(root, 'node_modules', '.bin')}${delimiter}${process.env.PATH ?? ''}`;
  const child = spawn('node', ['--disable-warning=ExperimentalWarning', join(root, program), ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  });
  // A terminal sends Ctrl-C to the child as well; here it only must not end us before the child has cleaned up.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on('error', (error) => fail(`cannot start ${program}: ${error.message}`));
    child.on('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}

const [verb, ...args] = process.argv.slice(2);
if (!Object.hasOwn(programs, verb ?? ''))
  fail(`usage: node infra/local/bootstrap.mjs ${Object.keys(programs).join('|')} [options]`);
const missing = missingPrerequisites();
if (missing.length > 0) fail(describeMissing(missing));
installModules();
const prepared = verb === 'prepare' ? 0 : await run(programs.prepare, []);
process.exitCode = prepared === 0 ? await run(programs[verb], args) : prepared;
