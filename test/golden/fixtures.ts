import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sstableFilesAt } from '#adapters/byte-source-file.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';

const ROOT = fileURLToPath(new URL('sstables/', import.meta.url));

export interface Fixture {
  /** E.g. `4.1-nb-big/colls/nb-1-big`. */
  readonly title: string;
  readonly release: string;
  readonly table: string;
  readonly directory: string;
  readonly dataPath: string;
  readonly files: SSTableFiles;
  /** Cassandra's own view of it, when there is one. */
  readonly dumpPath?: string;
  /** What `sstabledump -d` printed, when it could. */
  readonly rowsPath?: string;
}

/** The releases of the 3.x fixtures, and the version of the format that each wrote. */
export const RELEASES_3 = {
  '3.0.6': 'ma',
  '3.0.7': 'mb',
  '3.0.16': 'mc',
  '3.11.3': 'mc',
  '3.11.10': 'md',
  '3.11.19': 'me',
} as const;

/** What Cassandra 3.0 and 3.11 wrote. */
export function listFixtures3(): Fixture[] {
  return listFixtures(Object.keys(RELEASES_3).map((release) => `3.x/${release}`));
}

const RELEASES = ['4.1-nb-big', '4.1-nb-codecs', '5.0-oa-big', '5.0-da-bti'] as const;

/** Every SSTable of the catalogue (see README.md there), unless only some folders are asked for. */
export function listFixtures(releases: readonly string[] = RELEASES): Fixture[] {
  const fixtures: Fixture[] = [];
  for (const release of releases) {
    for (const table of readdirSync(join(ROOT, release)).sort()) {
      const directory = join(ROOT, release, table);
      const names = readdirSync(directory);
      for (const name of names.filter((each) => each.endsWith('-Data.db')).sort()) {
        const base = name.slice(0, -'-Data.db'.length);
        const dump = `${base}-dump.json.gz`;
        const rows = `${base}-rows.txt.gz`;
        fixtures.push({
          title: `${release}/${table}/${base}`,
          release,
          table,
          directory,
          dataPath: join(directory, name),
          files: sstableFilesAt(join(directory, name)),
          dumpPath: names.includes(dump) ? join(directory, dump) : undefined,
          rowsPath: names.includes(rows) ? join(directory, rows) : undefined,
        });
      }
    }
  }
  return fixtures;
}

export function fixture(title: string): Fixture {
  const all = title.startsWith('3.x/') ? listFixtures3() : listFixtures();
  const found = all.find((each) => each.title === title);
  if (!found) throw new Error(`there is no fixture ${title}`);
  return found;
}
