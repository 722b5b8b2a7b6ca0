import { join } from 'node:path';

/** The folder of the checkout. */
export const projectRoot = join(import.meta.dirname, '..', '..');

/** Everything that local runs create; never committed, safe to delete when nothing runs. */
export const cacheRoot = join(projectRoot, '.ringshift');

export const venvFolder = join(cacheRoot, 'venv');
export const venvPython = join(venvFolder, 'bin', 'python');

/** The jars of one Cassandra version. */
export function jarFolder(version: string): string {
  return join(cacheRoot, 'cassandra', version);
}

/** Environment variables with the project's own Node and commands first on the path. */
export function projectEnvironment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${join(projectRoot, 'node_modules', '.bin')}:${process.env['PATH'] ?? ''}`,
    ...extra,
  };
}
