/** Remembers the proxy that the demo started, so that `ringshift local down` ends it when the demo left it running. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commandLineOf, stopProcess } from './processes.ts';

const pidFile = (folder: string): string => join(folder, 'proxy.pid');

/** @param folder of the environment */
export function rememberProxy(folder: string, pid: number): void {
  writeFileSync(pidFile(folder), String(pid));
}

/**
 * Stops the remembered proxy and the server that it started; a pid that meanwhile is another program's is left alone. It
 * is told by its config, which is this environment's: `ringshift proxy` becomes the program that it has bundled.
 */
export async function stopProxy(folder: string): Promise<void> {
  let pid: number;
  try {
    pid = Number(readFileSync(pidFile(folder), 'utf8'));
  } catch {
    return;
  }
  const command = Number.isInteger(pid) && pid > 1 ? await commandLineOf(pid) : undefined;
  if (command?.includes(` --config ${folder}/`)) await stopProcess(pid, { group: true, graceMs: 15_000 });
  rmSync(pidFile(folder), { force: true });
}
