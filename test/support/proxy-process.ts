import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { forcePhaseOver } from './force-phase.ts';

const root = join(import.meta.dirname, '..', '..');
/** An administrative page of a proxy that stands still. */
const GET_MS = 30_000;
const TAKEN_MS = 2_000;
const TOKEN = 'a-token-for-the-tests';

interface Place {
  readonly host: string;
  readonly port: number;
}

export interface ProxyProcessOptions {
  readonly listen: Place;
  readonly admin: Place;
  readonly origin: Place;
  readonly target: Place;
  readonly login: { readonly username: string; readonly password: string } | null;
  readonly proxy?: object;
  /** Of both clusters, beside their addresses. */
  readonly clusters?: object;
  /** Of the origin, beside that. */
  readonly originConfig?: object;
  readonly failedWrites?: object;
  /** null or none: of all keyspaces. */
  readonly gates?: object;
  /** A ledger that other proxies use as well: its directory, or what the configuration says of it. */
  readonly ledger?: string | object;
  /** YAML of the filter rules. */
  readonly filterRules?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** What becomes the proxy, given its command: another view of the disks. */
  readonly launcher?: readonly string[];
}

/** `ringshift proxy` as a process of its own, with a directory as its ledger. */
export class ProxyProcess {
  readonly folder = mkdtempSync(join(tmpdir(), 'ringshift-proxy-'));
  readonly #options: ProxyProcessOptions;
  readonly #env: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  output = '';

  constructor(options: ProxyProcessOptions) {
    this.#options = options;
    this.#env = { ...options.env };
    const { listen, admin, origin, target, login } = options;
    const cluster = ({ host, port }: Place): object => ({
      contactPoints: [host],
      port,
      auth: login,
      ...options.clusters,
    });
    if (options.filterRules !== undefined) this.writeFilterRules(options.filterRules);
    const config = {
      origin: { ...cluster(origin), ...options.originConfig },
      target: cluster(target),
      ledger:
        typeof options.ledger === 'object'
          ? options.ledger
          : { kind: 'file', path: options.ledger ?? join(this.folder, 'ledger') },
      proxy: {
        listen,
        admin: { ...admin, token: TOKEN },
        instance: 'test',
        ...(options.filterRules === undefined ? {} : { filterRules: 'filter-rules.yaml' }),
        ...options.proxy,
      },
      failedWrites: { journalDir: join(this.folder, 'journal'), retryIntervalSecs: 1, ...options.failedWrites },
      ...(options.gates ? { gates: options.gates } : {}),
    };
    writeFileSync(this.configFile, stringify(config));
  }

  get configFile(): string {
    return join(this.folder, 'migration.yaml');
  }

  /** Of what the command has started. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  writeFilterRules(text: string): void {
    writeFileSync(join(this.folder, 'filter-rules.yaml'), text);
  }

  /** For what is known only now; holds from the next start on. */
  addEnv(env: NodeJS.ProcessEnv): void {
    Object.assign(this.#env, env);
  }

  /** @param how `listening`: it need not be ready, as one whose clock differs never is */
  async start(how: { readonly until: 'ready' | 'listening' } = { until: 'ready' }): Promise<void> {
    // Else its answers would be taken for ours.
    if (await this.#isTaken()) throw new Error(`somebody else answers at ${this.#url('')}`);
    const { launcher = [] } = this.#options;
    const program = [process.execPath, join(root, 'cli', 'main.ts'), 'proxy', '--config', this.configFile];
    const [command, ...args] = [...launcher, ...program];
    const child = spawn(command!, args, {
      cwd: root,
      env: { ...process.env, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    for (let attempt = 0; attempt < 600; attempt++) {
      if (child.exitCode !== null) throw new Error(`the proxy ended with ${child.exitCode}: ${this.output}`);
      if (await this.#is(how.until)) return;
      await sleep(100);
    }
    throw new Error(`the proxy is not ready: ${this.output}`);
  }

  #fetch(path: string, withinMs = GET_MS): Promise<Response> {
    return fetch(this.#url(path), { signal: AbortSignal.timeout(withinMs) });
  }

  #isTaken(): Promise<boolean> {
    return this.#fetch('/status', TAKEN_MS).then(
      () => true,
      // Who takes the connection and stands still is there as well.
      (error: Error) => error.name === 'TimeoutError',
    );
  }

  async #is(state: 'ready' | 'listening'): Promise<boolean> {
    try {
      const path = state === 'ready' ? '/health/ready' : '/status';
      const response = await this.#fetch(path);
      if (state === 'ready' || !response.ok) return response.ok;
      return ((await response.json()) as { readonly isListening: boolean }).isListening;
    } catch {
      return false;
    }
  }

  /** SIGTERM; resolves to the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    child.kill('SIGTERM');
    return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
  }

  /** SIGKILL: no good-bye to anybody. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  cleanUp(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  async get<T>(path: string): Promise<T> {
    const response = await this.#fetch(path);
    return (await response.json()) as T;
  }

  async text(path: string): Promise<string> {
    return (await this.#fetch(path)).text();
  }

  async change(method: 'PUT' | 'POST', path: string, body: object = {}): Promise<void> {
    const response = await fetch(this.#url(path), {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    await response.arrayBuffer();
  }

  /** Forces what gates are closed: most tests load and validate nothing. */
  setPhase(phase: string, more: { readonly abandonFiltered?: boolean } = {}): Promise<void> {
    return forcePhaseOver(this.#url(''), TOKEN, phase, more);
  }

  async counters(): Promise<Record<string, number>> {
    return (await this.get<{ counters: Record<string, number> }>('/status')).counters;
  }

  #url(path: string): string {
    const { host, port } = this.#options.admin;
    return `http://${host}:${port}${path}`;
  }
}
