import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cachedBundle } from '#adapters/program-bundle.ts';
import { describeError } from '#core/errors.ts';

const ROOT = join(import.meta.dirname, '..');
const SOURCES = ['core', 'adapters', 'proxy-container/src', 'package-lock.json'];
const CACHE = join(ROOT, '.ringshift', 'proxy');

/**
 * The proxy as plain JavaScript, which needs some 50 MiB less than its sources run as they are; the sources where there is
 * nothing to bundle them with (an install without development dependencies), or no place to keep the bundle.
 * @throws Error when the sources have a fault
 */
export async function proxyProgram(cache: string = CACHE): Promise<string> {
  const source = (path: string): string => join(ROOT, 'proxy-container', 'src', path);
  const main = source('main.ts');
  if (!existsSync(join(ROOT, 'node_modules', 'esbuild'))) return main;
  const sources = SOURCES.map((path) => join(ROOT, path));
  try {
    return await cachedBundle({ main, 'journal-worker': source('journal/journal-worker.ts') }, cache, sources);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    process.stderr.write(`ringshift proxy: takes more memory, as it is not bundled: ${describeError(error)}\n`);
    return main;
  }
}
