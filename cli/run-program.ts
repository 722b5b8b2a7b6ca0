import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * For glibc, unless the environment says otherwise: memory that was needed for a moment, by whichever thread, goes back to
 * the system. Read when a process starts, so a program can not set it for itself.
 */
const ALLOCATION = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '65536' };

/**
 * Becomes a program of another app of this project: it is this very process, so who signals or kills this one reaches the
 * program itself. On Windows, where no process can do that, the program is a child.
 * @param path absolute
 */
export async function becomeProgram(path: string, args: readonly string[]): Promise<void> {
  const { execve } = process;
  if (execve === undefined || process.platform === 'win32') return runProgram(path, args);
  const env = { ...ALLOCATION, ...process.env };
  execve.call(process, process.execPath, [process.execPath, ...process.execArgv, path, ...args], env);
}

/**
 * Runs a program of another app of this project as a child, because apps never import one another: same terminal,
 * signals passed on, and its exit code becomes ours.
 */
export async function runProgram(path: string, args: readonly string[]): Promise<void> {
  const root = join(import.meta.dirname, '..');
  const child = spawn(process.execPath, [resolve(root, path), ...args], { stdio: 'inherit' });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  // Ctrl-C reaches the child through the terminal; here it must only not end us before the child has cleaned up.
  const ignore = (): void => {};
  process.on('SIGINT', ignore).on('SIGTERM', pass).on('SIGHUP', pass);
  try {
    process.exitCode = await new Promise<number>((end, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => end(code ?? 128 + (signal ? constants.signals[signal] : 0)));
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', pass).off('SIGHUP', pass);
  }
}
