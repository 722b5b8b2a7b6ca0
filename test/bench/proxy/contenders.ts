import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '#core/config/schema.ts';
import { proxyProgram } from '../../../cli/proxy-program.ts';
import { type Cpus, lineOf, STUB_HOST, STUB_PORTS, type Started, startPinned } from './tools.ts';

/** One of those that are compared: how it is started and how clients speak to it. */
export interface Contender {
  readonly name: string;
  readonly version: number;
  readonly lz4: boolean;
  /** Of which kinds of runs it is a part. */
  readonly isFor: readonly Kind[];
  start(): Promise<Running>;
}

export type Kind = 'write' | 'originWrite' | 'read' | 'latency';

export interface Running {
  /** host:port */
  readonly address: string;
  /** Of the admin API, likewise; of this project's proxy only. */
  readonly admin?: string;
  readonly pids: readonly number[];
  readonly process: Started;
  stop(): Promise<void>;
}

const PROXY_HOST = STUB_HOST;

/** Starts this project's proxy between the stubs, with everything switched on that has a switch. */
export async function startOurs(
  cpus: Cpus,
  phase: Phase,
  options: {
    readonly proxy?: object;
    readonly failedWrites?: object;
    readonly env?: NodeJS.ProcessEnv;
    readonly listenTls?: object;
    readonly nodeFlags?: readonly string[];
    readonly hasChannel?: boolean;
    readonly targetPort?: number | undefined;
    /** Another checkout, installed, whose proxy it is. */
    readonly checkout?: string;
  } = {},
): Promise<Running> {
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-bench-'));
  const cluster = (port: number): object => ({ contactPoints: [STUB_HOST], port });
  const config = {
    origin: cluster(STUB_PORTS.origin),
    target: cluster(options.targetPort ?? STUB_PORTS.target),
    ledger: { kind: 'file', path: join(folder, 'ledger') },
    proxy: {
      listen: { host: PROXY_HOST, port: 0, tls: options.listenTls ?? null },
      admin: { host: PROXY_HOST, port: 0 },
      instance: 'bench',
      initialPhase: phase,
      filterRules: 'filter-rules.yaml',
      ...options.proxy,
    },
    failedWrites: { journalDir: join(folder, 'journal'), ...options.failedWrites },
  };
  const rules = { tenants: { columns: ['tenant'], exclude: ['t-7'] }, tables: { exclude: ['other.table'] } };
  // JSON is YAML.
  writeFileSync(join(folder, 'migration.yaml'), JSON.stringify(config));
  writeFileSync(join(folder, 'filter-rules.yaml'), JSON.stringify(rules));
  const program = await programOf(options.checkout);
  const command = [process.execPath, ...(options.nodeFlags ?? []), program, '--config', join(folder, 'migration.yaml')];
  const started = startPinned(cpus.proxy, command, {
    env: { RINGSHIFT_LOG_LEVEL: 'info', ...options.env },
    ...(options.hasChannel ? { hasChannel: true } : {}),
  });
  const stop = async (): Promise<void> => {
    await started.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    let admin = '';
    const port = await lineOf(started.child.stdout!, (line) => {
      const { msg, port, adminPort } = JSON.parse(line) as { msg?: string; port?: number; adminPort?: number };
      if (adminPort !== undefined) admin = `${PROXY_HOST}:${adminPort}`;
      return msg?.startsWith('CQL server listening') ? port : undefined;
    });
    return { address: `${PROXY_HOST}:${port}`, admin, pids: [started.pid], process: started, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function programOf(checkout: string | undefined): Promise<string> {
  if (checkout === undefined) return proxyProgram();
  const path = join(resolve(checkout), 'cli', 'proxy-program.ts');
  const other = (await import(path)) as { proxyProgram: typeof proxyProgram };
  return other.proxyProgram();
}

/** Starts a floor: `splice` only moves bytes, `dual` writes twice and does nothing else. */
async function startFloor(tools: string, cpus: Cpus, mode: 'splice' | 'dual'): Promise<Running> {
  const address = `${STUB_HOST}:${mode === 'dual' ? 17002 : 17001}`;
  const { origin, target } = STUB_PORTS;
  const flags = ['--origin', `${STUB_HOST}:${origin}`, '--target', `${STUB_HOST}:${target}`];
  const started = startPinned(cpus.proxy, [join(tools, 'splice'), '--mode', mode, '--listen', address, ...flags]);
  // It says nothing when it listens.
  await sleep(300);
  return { address, pids: [started.pid], process: started, stop: () => started.stop() };
}

async function startZdm(binary: string, cpus: Cpus): Promise<Running> {
  const address = `${STUB_HOST}:17003`;
  const side = (name: string, port: number): object => ({
    [`ZDM_${name}_CONTACT_POINTS`]: STUB_HOST,
    [`ZDM_${name}_PORT`]: String(port),
    [`ZDM_${name}_USERNAME`]: 'cassandra',
    [`ZDM_${name}_PASSWORD`]: 'cassandra',
  });
  const env = {
    ...side('ORIGIN', STUB_PORTS.origin),
    ...side('TARGET', STUB_PORTS.target),
    ZDM_PROXY_LISTEN_ADDRESS: STUB_HOST,
    ZDM_PROXY_LISTEN_PORT: '17003',
    ZDM_METRICS_ADDRESS: STUB_HOST,
    ZDM_METRICS_PORT: '17004',
    ZDM_LOG_LEVEL: 'ERROR',
    GOMAXPROCS: '1',
  };
  const started = startPinned(cpus.proxy, [binary], { env });
  started.child.stdout!.resume();
  for (let attempt = 0; attempt < 100; attempt++) {
    const isReady = await fetch(`http://${STUB_HOST}:17004/health/readiness`).then(
      (response) => response.ok,
      () => false,
    );
    if (isReady) return { address, pids: [started.pid], process: started, stop: () => started.stop() };
    await sleep(100);
  }
  await started.stop();
  throw new Error('zdm-proxy did not become ready');
}

export interface Others {
  /** Path of zdm-proxy's binary. */
  readonly zdm: string | undefined;
  /** Another checkout of this project. */
  readonly before: string | undefined;
}

/** Everybody in the comparison. */
export function contenders(tools: string, cpus: Cpus, { zdm, before }: Others): Contender[] {
  const ours = (
    name: string,
    phase: Phase,
    isFor: readonly Kind[],
    { version = 4, lz4 = false, checkout }: { version?: number; lz4?: boolean; checkout?: string } = {},
  ): Contender => ({
    name,
    version,
    lz4,
    isFor,
    start: () => startOurs(cpus, phase, checkout === undefined ? {} : { checkout }),
  });
  const floor = (mode: 'splice' | 'dual', isFor: readonly Kind[]): Contender => ({
    name: `floor ${mode}`,
    version: 4,
    lz4: false,
    isFor,
    start: () => startFloor(tools, cpus, mode),
  });
  const list = [
    ours('ours', 'dual-async', ['write', 'read', 'latency']),
    ours('ours origin-only', 'origin-only', ['originWrite']),
    ours('ours v5', 'dual-async', ['write', 'read'], { version: 5 }),
    ours('ours LZ4', 'dual-async', ['write'], { lz4: true }),
    floor('splice', ['originWrite', 'read', 'latency']),
    floor('dual', ['write', 'latency']),
  ];
  if (before !== undefined) {
    list.push(ours('before', 'dual-async', ['write', 'read', 'latency'], { checkout: before }));
  }
  if (zdm === undefined) return list;
  if (!existsSync(zdm)) throw new Error(`there is no zdm-proxy at ${zdm}`);
  const isFor = ['write', 'read', 'latency'] as const;
  return [...list, { name: 'zdm-proxy', version: 4, lz4: false, isFor, start: () => startZdm(zdm, cpus) }];
}
