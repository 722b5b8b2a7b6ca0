/** Programs of other languages that use a driver as an application does, and report each check on a line of JSON. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { describeError } from '#core/errors.ts';

/** What one check saw; when it failed, why. */
interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: unknown;
}

/** What a program asks of the test that started it, by name. */
export type Asks = Readonly<Record<string, () => Promise<unknown>>>;

/** A program that hangs is ended, and what it reported until then counts. */
const LIMIT_MS = 400_000;

export interface ProgramOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly asks?: Asks;
  /** Its name is written KS in the report, so that runs on different ones can be compared. */
  readonly keyspace: string;
}

/** All that a program reported. */
export class ProgramReport {
  readonly results: ReadonlyMap<string, CheckResult>;
  readonly #ending: string;

  constructor(results: ReadonlyMap<string, CheckResult>, ending: string) {
    this.results = results;
    this.#ending = ending;
  }

  /** @throws Error when the program ended before that check */
  of(name: string): CheckResult {
    const result = this.results.get(name);
    if (result) return result;
    throw new Error(`the program did not come to this check; ${this.#ending}`);
  }
}

/** Runs a program to its end; never rejects, so that what it reported before it failed is seen. */
export async function runProgram(options: ProgramOptions): Promise<ProgramReport> {
  const { command, args, env, asks = {}, keyspace } = options;
  const child = spawn(command, [...args], { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(describeError(error)));
    child.once('close', (code, signal) => resolve(`it ended with ${code ?? signal}`));
  }).finally(() => clearTimeout(limit));
  // A program that has died can't be answered; its end says so.
  child.stdin.on('error', () => undefined);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000);
  });
  const results = new Map<string, CheckResult>();
  const stray: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const message = parse(line.replaceAll(keyspace, 'KS'));
    if (message === undefined) stray.push(line);
    else if ('ask' in message) {
      const answer = await act(asks, message.ask);
      child.stdin.write(`${answer}\n`);
    } else results.set(message.name, message);
  }
  return new ProgramReport(results, `${await ended}\n${stray.join('\n').slice(-2000)}\n${errors}`);
}

function parse(line: string): CheckResult | { readonly ask: string } | undefined {
  try {
    return JSON.parse(line) as CheckResult | { readonly ask: string };
  } catch {
    return undefined;
  }
}

async function act(asks: Asks, what: string): Promise<string> {
  const action = asks[what];
  if (!action) return `nobody knows how to ${what}`;
  return action().then(
    () => 'done',
    (error: unknown) => describeError(error).replaceAll('\n', ' '),
  );
}

export interface DeclaredCheck {
  readonly name: string;
  /** Without a proxy in between it would make no sense. */
  readonly isProxyOnly: boolean;
}

/** The checks that a program's sources name, so that each is a test also where the program did not come to it. */
export function declaredChecks(files: readonly string[]): DeclaredCheck[] {
  return files.flatMap((file) => {
    const calls = readFileSync(file, 'utf8').matchAll(/\bcheck(Proxy|_proxy)?\(\s*(["'])(.+?)\2/g);
    return [...calls].map(([, proxy, , name]) => ({ name: name!, isProxyOnly: proxy !== undefined }));
  });
}

export interface Runs {
  readonly through: ProgramReport;
  /** The same program without a proxy. */
  readonly direct: ProgramReport;
}

/** One test for each check: it holds through the proxy, and sees there what it sees on the cluster itself. */
export function testChecks(title: string, checks: readonly DeclaredCheck[], runs: () => Runs): void {
  test.each(checks)(`${title} $name`, ({ name, isProxyOnly }) => {
    const { through, direct } = runs();
    const seen = through.of(name);
    const wanted = isProxyOnly ? { name, ok: true, detail: seen.detail } : direct.of(name);
    if (!isProxyOnly) expect(wanted, `without the proxy: ${JSON.stringify(wanted)}`).toMatchObject({ ok: true });
    expect(seen, 'through the proxy').toEqual(wanted);
  });
}
