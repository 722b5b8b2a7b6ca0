import { join } from 'node:path';
import { cacheRoot } from '../../infra/local/paths.ts';
import { type CommandResult, runCommand } from '../../infra/local/processes.ts';

export const projectRoot = join(import.meta.dirname, '..', '..');
export const mainFile = join(projectRoot, 'cli', 'main.ts');

/** Safe to share: entries are found by the content of the file. */
export const compileCache = join(cacheRoot, 'test-tools', 'compile-cache');

/** Runs the real `ringshift` command to its end. */
export function runRingshift(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  return runCommand(process.execPath, [mainFile, ...args], {
    cwd: projectRoot,
    env: { ...process.env, ...env },
    timeoutMs: 170_000,
  });
}

/** What it printed on standard output, which must be exactly one JSON document. */
export function jsonOf<T>(result: CommandResult): T {
  try {
    return JSON.parse(result.stdout) as T;
  } catch {
    throw new Error(
      `standard output is not one JSON document (exit code ${result.code}):\n${result.stdout}\n${result.stderr}`,
    );
  }
}
