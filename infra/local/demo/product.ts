/** The product as the demo uses it: the `ringshift` command and the proxy, each a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { PrerequisiteError, RunFailedError } from '#core/errors.ts';
import { projectEnvironment, projectRoot } from '../paths.ts';
import { lastLines } from '../processes.ts';
import { rememberProxy, stopProxy } from '../proxy-pid.ts';

export interface ProductOptions {
  readonly configFile: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Progress lines of a long verb. */
  readonly say: (line: string) => void;
}

export interface CliResult<T> {
  readonly exitCode: number;
  readonly json: T;
}

/**
 * Runs `ringshift <args> --config … --json` to its end.
 * @param shape of the fields that are read of what the verb prints; others are ignored
 * @param options.allowed exit codes that are results and not failures (1: differences were found)
 * @throws RunFailedError with the command and its last lines
 */
export async function ringshift<S extends z.ZodType>(
  product: ProductOptions,
  args: readonly string[],
  shape: S,
  options: { readonly allowed?: readonly number[] } = {},
): Promise<CliResult<z.output<S>>> {
  const { code, stdout, stderr } = await runCli([...args, '--config', product.configFile, '--json'], product);
  const name = `\`ringshift ${args.join(' ')}\``;
  if (!(options.allowed ?? [0]).includes(code)) {
    throw new RunFailedError(`${name} ended with exit code ${code}:\n${lastLines(stderr || stdout, 12)}`);
  }
  const printed = parseJson(stdout);
  const failure = errorShape.safeParse(printed);
  if (failure.success) throw new RunFailedError(`${name}: ${failure.data.error.message}`);
  const parsed = shape.safeParse(printed);
  if (!parsed.success) {
    throw new RunFailedError(`${name} printed something else than expected:\n${lastLines(stdout, 5).slice(0, 1000)}`);
  }
  return { exitCode: code, json: parsed.data };
}

/** What every verb prints with --json when it fails. */
const errorShape = z.object({ error: z.object({ message: z.string() }) });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function runCli(
  args: readonly string[],
  product: ProductOptions,
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(projectRoot, 'cli', 'main.ts'), ...args], {
      cwd: projectRoot,
      env: projectEnvironment(product.env),
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: product.signal,
    });
    let stdout = '';
    let stderr = '';
    let line = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-20_000);
      const lines = (line + text).split('\n');
      line = lines.pop() ?? '';
      for (const full of lines) if (full.trim() !== '') product.say(full.trimEnd());
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
  });
}

/** The proxy, started as its user would: `ringshift proxy --config …`, its log in a file. */
export class ProxyProcess {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #logFile: string;
  readonly #adminUrl: string;
  #ended: string | undefined;
  #stopping = false;

  /** @param onDeath called when it ends without having been told to */
  constructor(product: ProductOptions, folder: string, adminUrl: string, onDeath: (error: Error) => void) {
    const logFile = join(folder, 'proxy.log');
    this.#folder = folder;
    this.#logFile = logFile;
    this.#adminUrl = adminUrl;
    const log = openSync(logFile, 'w');
    this.#child = spawn(
      process.execPath,
      [join(projectRoot, 'cli', 'main.ts'), 'proxy', '--config', product.configFile],
      // In a group of its own: a Ctrl-C must stop the application first, which the demo sees to.
      { cwd: projectRoot, env: projectEnvironment(product.env), stdio: ['ignore', log, log], detached: true },
    );
    closeSync(log);
    if (this.#child.pid !== undefined) rememberProxy(folder, this.#child.pid);
    const died = (how: string): void => {
      this.#ended = how;
      if (!this.#stopping)
        onDeath(new RunFailedError(`the proxy ended (${how}). Last lines of ${logFile}:\n${this.#tail()}`));
    };
    this.#child.once('error', (error) => died(error.message));
    this.#child.once('exit', (code, signal) => died(signal ?? `exit code ${code}`));
  }

  #tail(): string {
    return lastLines(readFileSync(this.#logFile, 'utf8'), 12);
  }

  get logFile(): string {
    return this.#logFile;
  }

  /** Resolves when its health says that it serves. @throws PrerequisiteError with its last log lines */
  async waitUntilReady(signal: AbortSignal): Promise<void> {
    const deadline = Date.now() + 60_000;
    while (!(await this.#isReady())) {
      signal.throwIfAborted();
      if (this.#ended !== undefined || Date.now() > deadline) {
        throw new PrerequisiteError(`the proxy is not ready. Last lines of ${this.#logFile}:\n${this.#tail()}`);
      }
      await sleep(100);
    }
  }

  async #isReady(): Promise<boolean> {
    try {
      const response = await fetch(`${this.#adminUrl}/health/ready`, { signal: AbortSignal.timeout(2000) });
      await response.arrayBuffer();
      return response.ok;
    } catch {
      return false;
    }
  }

  /** SIGTERM: it drains, says so in the ledger, and ends. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await stopProxy(this.#folder);
  }

  /** From here on its life is its own: `ringshift local down` ends it. */
  release(): void {
    this.#stopping = true;
    this.#child.unref();
  }
}
