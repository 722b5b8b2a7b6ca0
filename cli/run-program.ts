import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';

/**
 * Runs a program of another app of this project as a child, because apps never import one another: same terminal,
 * signals passed on, and its exit code becomes ours.
 */
export async function runProgram(path: string, args: readonly string[]): Promise<void> {
  const root = join(import.meta.dirname, '..');
  const child = spawn(process.execPath, [join(root, path), ...args], { stdio: 'inherit' });
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
  // Ctrl-C reaches the child through the terminal; here it must only not end us before the child has cleaned up.
  const ignore = (): void => {};
  process.on('SIGINT', ignore).on('SIGTERM', pass).on('SIGHUP', pass);
  try {
    process.exitCode = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
    });
  } finally {
    process.off('SIGINT', ignore).off('SIGTERM', pass).off('SIGHUP', pass);
  }
}
