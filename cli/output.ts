/** What every verb prints with: text for people, JSON for programs, exit codes for both. */
import { ConfigError, describeError, MigrationError, UsageError } from '#core/errors.ts';

export const ExitCode = { done: 0, found: 1, usage: 2 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Options that every verb has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly config: string;
}

/** Prints a result once: as JSON with `--json`, else the lines. `bigint` becomes text. */
export function printResult(options: { readonly json?: boolean }, value: unknown, lines: readonly string[]): void {
  if (options.json) {
    process.stdout.write(`${JSON.stringify(value, bigintAsText)}\n`);
  } else {
    for (const line of lines) process.stdout.write(`${line}\n`);
  }
}

/** Progress goes to stderr, so that `--json` on stdout stays one document. */
export interface Progress {
  /** `done` and `total` in any one unit; `total` 0 when unknown. */
  update(done: number, total: number, text: string): void;
  end(): void;
}

const BAR_WIDTH = 30;
const PLAIN_INTERVAL_MS = 5000;

/** A bar on a terminal, a line every five seconds elsewhere, nothing when silent. */
export function createProgress(label: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  const terminal = stream.isTTY === true;
  let lastPlain = 0;
  let lastText = '';
  return {
    update(done, total, text) {
      const share = total > 0 ? Math.min(1, done / total) : 0;
      const filled = Math.round(share * BAR_WIDTH);
      if (terminal) {
        const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled);
        stream.write(`\r\u001b[K${label} ${bar} ${(share * 100).toFixed(0).padStart(3)} % ${text}`);
        return;
      }
      const now = Date.now();
      if (text === lastText || (now - lastPlain < PLAIN_INTERVAL_MS && share < 1)) return;
      lastPlain = now;
      lastText = text;
      stream.write(`${label}: ${(share * 100).toFixed(0)} % ${text}\n`);
    },
    end() {
      if (terminal) stream.write('\n');
    },
  };
}

/** A failure as the one JSON document of standard output. */
export function printFailure(error: unknown): void {
  const details =
    error instanceof MigrationError ? { name: error.name, retryable: error.retryable, context: error.context } : {};
  const document = { error: { message: describeError(error), ...details } };
  process.stdout.write(`${JSON.stringify(document, bigintAsText)}\n`);
}

const bigintAsText = (_: string, item: unknown): unknown => (typeof item === 'bigint' ? item.toString() : item);

/** Says what went wrong in as few lines as it needs, sets the exit code. */
export function reportFailure(error: unknown, options: { readonly json?: boolean }): void {
  const usage = error instanceof ConfigError || error instanceof UsageError;
  process.exitCode = usage ? ExitCode.usage : ExitCode.found;
  if (options.json) printFailure(error);
  process.stderr.write(`ringshift: ${describeError(error)}\n`);
  if (process.env['RINGSHIFT_DEBUG'] && error instanceof Error) process.stderr.write(`${error.stack}\n`);
}
