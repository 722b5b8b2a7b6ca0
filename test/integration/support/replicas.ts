/** Two unrepaired replicas made of one node: each has some of its SSTables, and some both have. */
import { cpSync, linkSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Random } from './random.ts';

/**
 * Deals a snapshot out.
 * @param dataFolder of the node: `<keyspace>/<table>-<id>/snapshots/<tag>` is below it
 * @returns two folders of the same layout; together they hold everything
 */
export function dealSnapshot(
  random: Random,
  dataFolder: string,
  keyspace: string,
  tag: string,
  into: string,
): readonly [string, string] {
  const replicas = [join(into, 'replica-a'), join(into, 'replica-b')] as const;
  for (const table of readdirSync(join(dataFolder, keyspace))) {
    const path = join(keyspace, table, 'snapshots', tag);
    const names = readdirSync(join(dataFolder, path));
    const owners = new Map<string, readonly string[]>();
    for (const name of names) {
      // nb-1-big-Data.db: what belongs together goes together.
      const sstable = /^(\w+-\w+-\w+)-.+$/.exec(name)?.[1] ?? '';
      if (!owners.has(sstable)) owners.set(sstable, random.pick([replicas, [replicas[0]], [replicas[1]]]));
      const targets = sstable === '' ? replicas : owners.get(sstable)!;
      for (const replica of targets) {
        const copy = join(replica, path, name);
        mkdirSync(dirname(copy), { recursive: true });
        // Links where they are possible; a snapshot is one itself.
        try {
          linkSync(join(dataFolder, path, name), copy);
        } catch {
          cpSync(join(dataFolder, path, name), copy);
        }
      }
    }
  }
  return replicas;
}
