import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeSettings } from './cassandra-config.ts';
import { listJars, toolArguments } from './java-command.ts';
import { jarFolder } from './paths.ts';
import { runOrFail } from './processes.ts';

/** Runs `nodetool` against a node and resolves to what it printed. @throws PrerequisiteError with its message */
export async function nodetool(java: string, settings: NodeSettings, ...args: string[]): Promise<string> {
  const command = ['-h', '127.0.0.1', '-p', String(settings.jmxPort), ...args];
  const { stdout } = await runOrFail(
    `nodetool ${args[0]} on ${settings.name}`,
    java,
    toolArguments(settings, listJars(jarFolder(settings.version)), 'org.apache.cassandra.tools.NodeTool', command),
    { timeoutMs: 180_000 },
  );
  return stdout;
}

/** Runs `sstabledump` on one Data.db file and resolves to its JSON text. */
export async function sstabledump(java: string, settings: NodeSettings, dataFile: string): Promise<string> {
  const { stdout } = await runOrFail(
    `sstabledump ${dataFile}`,
    java,
    toolArguments(settings, listJars(jarFolder(settings.version)), 'org.apache.cassandra.tools.SSTableExport', [
      dataFile,
      '-t', // print raw microseconds, not dates
    ]),
    { timeoutMs: 180_000 },
  );
  return stdout;
}

/** The folder of a table: `<data>/<keyspace>/<table>-<32 hex>`; the younger one where a dropped table of that name left its own. */
export function tableFolder(settings: NodeSettings, keyspace: string, table: string): string {
  const parent = join(settings.folder, 'data', keyspace);
  const name = readdirSync(parent)
    .filter((entry) => entry.replace(/-[0-9a-f]{32}$/, '') === table)
    .sort((a, b) => (madeAt(a) < madeAt(b) ? -1 : 1))
    .at(-1);
  if (name === undefined) throw new Error(`${settings.name} has no folder for ${keyspace}.${table} below ${parent}`);
  return join(parent, name);
}

/** A table's id is a time-UUID; one that was dropped leaves its folder, with its snapshots, beside the new one's. */
function madeAt(folderName: string): string {
  const id = folderName.slice(-32);
  return id.slice(13, 16) + id.slice(8, 12) + id.slice(0, 8);
}

/** The Data.db files of a table, sorted. */
export function dataFiles(settings: NodeSettings, keyspace: string, table: string): string[] {
  const folder = tableFolder(settings, keyspace, table);
  return readdirSync(folder)
    .filter((name) => name.endsWith('-Data.db'))
    .sort()
    .map((name) => join(folder, name));
}
