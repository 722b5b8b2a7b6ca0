import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cachedBundle } from '#adapters/program-bundle.ts';

const ROOT = join(import.meta.dirname, '..');
const SOURCES = ['core', 'adapters', 'proxy-container/src', 'package-lock.json'];

/**
 * The proxy as plain JavaScript, which needs some 50 MiB less than its sources run as they are; the sources where there is
 * nothing to bundle them with (an install without development dependencies).
 */
export async function proxyProgram(): Promise<string> {
  const main = join(ROOT, 'proxy-container', 'src', 'main.ts');
  if (!existsSync(join(ROOT, 'node_modules', 'esbuild'))) return main;
  const sources = SOURCES.map((path) => join(ROOT, path));
  return cachedBundle(main, join(ROOT, '.ringshift', 'proxy'), sources);
}
