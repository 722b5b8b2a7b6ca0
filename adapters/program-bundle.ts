import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';

const MAIN = 'main.mjs';

/** What is started by itself, by the name that its file gets: the program, and threads of it. */
export interface Entries {
  readonly main: string;
  readonly [name: string]: string;
}

/** A program that runs may still load a part of its own bundle, so old ones stay for a while. */
const MAX_KEPT = 16;
/** Some packages ask for Node's own modules with `require`, which a module has to make for itself. */
const REQUIRE =
  "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);";

/**
 * Writes a program and all that it imports into `folder` as a few files of JavaScript, `main.mjs` first; what is imported
 * late stays apart, and every entry finds the others beside itself. Such a program needs no `node_modules`, and not the
 * compiler that strips types, which stays in memory.
 * @throws Error when esbuild is not installed or finds a fault
 */
export async function bundleProgram(entries: Entries, folder: string): Promise<string> {
  const { build } = await import('esbuild');
  await build({
    entryPoints: { ...entries },
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    mainFields: ['module', 'main'],
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'silent',
    banner: { js: REQUIRE },
  });
  return join(folder, MAIN);
}

/**
 * The bundle of a program, made when there is none of these sources yet.
 * @param cache directory of all bundles
 * @param sources directories and files that it is made of
 */
export async function cachedBundle(entries: Entries, cache: string, sources: readonly string[]): Promise<string> {
  const folder = join(cache, stateOf(sources));
  const main = join(folder, MAIN);
  if (statSync(main, { throwIfNoEntry: false })) {
    noteUse(folder);
    return main;
  }
  mkdirSync(cache, { recursive: true });
  const fresh = mkdtempSync(join(cache, 'new-'));
  try {
    await bundleProgram(entries, fresh);
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    // Another process was first.
    if (!statSync(main, { throwIfNoEntry: false })) throw error;
  }
  removeOld(cache);
  return main;
}

/** Changes with every change of a source: names, sizes and times of files, as reading all of them would take longer. */
function stateOf(sources: readonly string[]): string {
  const hash = createHash('sha256').update(process.version);
  const add = (path: string): void => {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory()) for (const name of readdirSync(path).sort()) add(join(path, name));
    else hash.update(`${path}\0${stat?.size}\0${stat?.mtimeMs}\n`);
  };
  for (const path of sources) add(path);
  return hash.digest('hex').slice(0, 32);
}

/** The age of a bundle is the time since its last start, not since it was made. */
function noteUse(folder: string): void {
  const now = new Date();
  try {
    utimesSync(folder, now, now);
  } catch {
    // Of another user, or on a file system that is not written to: nobody removes it there either.
  }
}

function removeOld(cache: string): void {
  const byAge = readdirSync(cache)
    .map((name) => ({
      path: join(cache, name),
      atMs: statSync(join(cache, name), { throwIfNoEntry: false })?.mtimeMs ?? 0,
    }))
    .sort((a, b) => b.atMs - a.atMs);
  for (const { path } of byAge.slice(MAX_KEPT)) rmSync(path, { recursive: true, force: true });
}
