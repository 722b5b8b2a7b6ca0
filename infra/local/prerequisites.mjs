// What must be on the machine before anything of this project runs. Plain JavaScript without dependencies, because
// bootstrap.mjs uses it on a fresh clone with whatever Node is there.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const MIN_NODE_MAJOR = 20;
const JAVA_MAJOR = 17;

/** The whole output of a short command, or undefined when it cannot be run or fails. */
function outputOf(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8', timeout: 30_000 });
  if (result.error || result.status !== 0) return undefined;
  return `${result.stdout}${result.stderr}`;
}

/** The major version in the text of `java -version`; 1.8 counts as 8. */
export function parseJavaMajor(versionText) {
  const match = /version "(\d+)(?:\.(\d+))?/.exec(versionText);
  if (!match) return undefined;
  return match[1] === '1' ? Number(match[2]) : Number(match[1]);
}

function javaHomesBelow(folder) {
  try {
    return readdirSync(folder)
      .sort()
      .flatMap((name) => [join(folder, name), join(folder, name, 'Contents', 'Home')]);
  } catch {
    return [];
  }
}

/** A release file says the version without starting a JVM, which costs a tenth of a second each. */
function releaseMajor(home) {
  try {
    const match = /^JAVA_VERSION="(\d+)/m.exec(readFileSync(join(home, 'release'), 'utf8'));
    return match ? Number(match[1]) : undefined;
  } catch {
    return undefined;
  }
}

/** Path of a Java 17 executable: JAVA_HOME, then PATH, then the usual folders. */
export function findJava17(env = process.env, folders = ['/usr/lib/jvm', '/Library/Java/JavaVirtualMachines']) {
  if (env.JAVA_HOME) {
    const java = join(env.JAVA_HOME, 'bin', 'java');
    const text = existsSync(java) ? outputOf(java, ['-version']) : undefined;
    if (text && parseJavaMajor(text) === JAVA_MAJOR) return java;
  }
  for (const folder of (env.PATH ?? '').split(':')) {
    const java = join(folder, 'java');
    if (!folder || !existsSync(java)) continue;
    const text = outputOf(java, ['-version']);
    if (text && parseJavaMajor(text) === JAVA_MAJOR) return java;
  }
  for (const home of folders.flatMap(javaHomesBelow)) {
    const java = join(home, 'bin', 'java');
    if (!existsSync(java)) continue;
    const major = releaseMajor(home) ?? parseJavaMajor(outputOf(java, ['-version']) ?? '');
    if (major === JAVA_MAJOR) return java;
  }
  return undefined;
}

function onPath(command, env) {
  return (env.PATH ?? '').split(':').some((folder) => folder !== '' && existsSync(join(folder, command)));
}

function pythonFault(env) {
  const remedy =
    'install Python 3.9 or later with venv (Debian: apt install python3 python3-venv; macOS: brew install python)';
  if (!onPath('python3', env)) return { what: 'Python 3', remedy };
  const probe = outputOf('python3', ['-c', 'import sys, venv, ensurepip; print("%d %d" % sys.version_info[:2])']);
  if (probe === undefined) return { what: 'Python 3 with venv', remedy };
  const [major, minor] = probe.trim().split(' ').map(Number);
  return major === 3 && minor >= 9 ? undefined : { what: 'Python 3.9 or later', remedy };
}

/** Everything that is missing, each with its remedy; empty when all is there. */
export function missingPrerequisites(env = process.env, nodeVersion = process.versions.node) {
  const missing = [];
  if (Number(nodeVersion.split('.')[0]) < MIN_NODE_MAJOR) {
    missing.push({
      what: `Node ${MIN_NODE_MAJOR} or later (this is ${nodeVersion})`,
      remedy: 'install it from https://nodejs.org or with your version manager',
    });
  }
  if (findJava17(env) === undefined) {
    missing.push({
      what: 'Java 17',
      remedy:
        'install it (Debian: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17), or point JAVA_HOME at one',
    });
  }
  if (!onPath('mvn', env)) {
    missing.push({ what: 'Maven', remedy: 'install it (Debian: apt install maven; macOS: brew install maven)' });
  }
  const python = pythonFault(env);
  if (python) missing.push(python);
  return missing;
}

/** The message for people: all missing things at once. */
export function describeMissing(missing) {
  const lines = missing.map(({ what, remedy }) => `  - ${what} is missing: ${remedy}`);
  return `This machine lacks ${missing.length === 1 ? 'a prerequisite' : `${missing.length} prerequisites`}:\n${lines.join('\n')}`;
}
