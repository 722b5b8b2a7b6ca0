import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrerequisiteError } from '#core/errors.ts';

/** Of a line that is shown; Cassandra logs its whole configuration as one. */
const MAX_LINE = 400;

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Runs a command to its end and captures its output (64 MiB at most); a non-zero exit code is a result, not an error. */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    execFile(
      command,
      [...args],
      {
        cwd: options.cwd,
        env: options.env,
        timeout: options.timeoutMs ?? 0,
        signal: options.signal,
        maxBuffer: 64 * 1024 * 1024,
        encoding: 'utf8',
      },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== 'number') {
          if (error.killed && !options.signal?.aborted) {
            resolve({
              code: 124,
              stdout,
              stderr: `${stderr}\n${command} got no further within ${options.timeoutMs} ms`,
            });
          } else reject(error);
          return;
        }
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
      },
    );
  });
}

/**
 * Starts a long-lived process in a session of its own, so that a Ctrl-C reaches it only through its launcher, with
 * both outputs in one file.
 */
export function startDaemon(
  command: string,
  args: readonly string[],
  logFile: string,
  options: Pick<SpawnOptions, 'cwd' | 'env'> = {},
): ChildProcess {
  const log = openSync(logFile, 'w');
  try {
    const child = spawn(command, [...args], { ...options, detached: true, stdio: ['ignore', log, log] });
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The command line of a process, or undefined when there is none: pids are reused, so a remembered one must be checked. */
export async function commandLineOf(pid: number): Promise<string | undefined> {
  if (!isAlive(pid)) return undefined;
  const { code, stdout } = await runCommand('ps', ['-o', 'command=', '-ww', '-p', String(pid)]);
  const line = stdout.trim();
  return code === 0 && line !== '' && !line.endsWith('<defunct>') ? line : undefined;
}

/** SIGTERM, then SIGKILL after the grace; `group` also reaches what the process started. Resolves when it is gone. */
export async function stopProcess(
  pid: number,
  options: { graceMs?: number; group?: boolean; signal?: NodeJS.Signals } = {},
): Promise<void> {
  const target = options.group ? -pid : pid;
  if (!signalIfThere(target, options.signal ?? 'SIGTERM')) return;
  const deadline = Date.now() + (options.graceMs ?? 20_000);
  while ((await commandLineOf(pid)) !== undefined && Date.now() < deadline) await sleep(100);
  if (options.group || (await commandLineOf(pid)) !== undefined) signalIfThere(target, 'SIGKILL');
  const killDeadline = Date.now() + 5000;
  while ((await commandLineOf(pid)) !== undefined && Date.now() < killDeadline) await sleep(50);
}

function signalIfThere(target: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(target, signal);
    return true;
  } catch {
    return false;
  }
}

/** The last lines of a text, for messages about a process that died. */
export function lastLines(text: string, count: number): string {
  const shorten = (line: string): string => (line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)} …` : line);
  return text.trimEnd().split('\n').slice(-count).map(shorten).join('\n');
}

/** Runs a command that must succeed. @throws PrerequisiteError with its last lines and the remedy */
export async function runOrFail(
  what: string,
  command: string,
  args: readonly string[],
  options: CommandOptions & { remedy?: string } = {},
): Promise<CommandResult> {
  const result = await runCommand(command, args, options);
  if (result.code === 0) return result;
  const detail = lastLines(`${result.stdout}\n${result.stderr}`, 15);
  throw new PrerequisiteError(
    `${what} failed (exit code ${result.code}):\n${detail}${options.remedy ? `\n${options.remedy}` : ''}`,
  );
}
