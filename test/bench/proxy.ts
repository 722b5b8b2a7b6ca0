/**
 * What the proxy costs: requests per second and CPU of the proxy's process, directly and through it, in each phase.
 * Clients and stub clusters run in this process, the proxy in one of its own. Figures of one run on one machine compare
 * with each other and with nothing else; ratios are what counts.
 *
 *   npm run bench:proxy -- [--seconds 4] [--clients 16] [--in-flight 16] [--reads]
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { phases } from '#core/config/schema.ts';
import { bodyOf, encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { Flusher } from '../../proxy-container/src/frame-writer.ts';
import { openSession } from '../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../proxy-container/src/upstream/upstream-connection.ts';
import { MockCluster } from '../support/mock-cluster.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    clients: { type: 'string', default: '16' },
    'in-flight': { type: 'string', default: '16' },
    reads: { type: 'boolean', default: false },
  },
});
const SECONDS = Number(values.seconds);
const CLIENTS = Number(values.clients);
const IN_FLIGHT = Number(values['in-flight']);
const TEXT = values.reads ? 'SELECT v FROM t WHERE id = ?' : 'INSERT INTO t (id, v) VALUES (?, ?)';
const ROW = values.reads ? [Buffer.from([0, 0, 0, 1])] : [Buffer.from([0, 0, 0, 1]), Buffer.alloc(100, 'x')];
const TICKS_PER_SECOND = 100;

interface Figures {
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU seconds of the proxy per million requests; undefined without a proxy. */
  readonly cpuPerMillion: number | undefined;
}

async function connect(port: number): Promise<UpstreamConnection> {
  const client = await UpstreamConnection.open({ host: '127.0.0.1', port, connectTimeoutMs: 2000 }, 4, new Flusher());
  const startup = new Map([['CQL_VERSION', '3.0.0']]);
  await openSession(client, { version: 4, startup, credentials: undefined, keyspace: 'ks' }, 5000);
  return client;
}

async function prepare(client: UpstreamConnection): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(TEXT, 4), 5000);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('the statement was not prepared');
  const header = { version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.EXECUTE };
  return encodeFrame(header, encodeExecute(result.prepared.id, { values: ROW }, 4));
}

/** User and system time of a process so far, from /proc; undefined where there is none. */
function cpuSeconds(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}

async function load(port: number, pid: number | undefined): Promise<Figures> {
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect(port)));
  const frames = await Promise.all(clients.map(prepare));
  const latencies: number[] = [];
  let done = 0;
  let errors = 0;
  let isRunning = true;
  let isMeasuring = false;
  const issue = (client: UpstreamConnection, frame: Buffer): void => {
    const startedMs = performance.now();
    const handler = {
      onReply: (reply: Buffer) => {
        if (reply[4] === Opcode.ERROR) errors++;
        if (isMeasuring) {
          done++;
          if (done % 16 === 0) latencies.push(performance.now() - startedMs);
        }
        if (isRunning) issue(client, frame);
      },
      onLost: () => {
        errors++;
      },
    };
    client.send(frame, handler, 30_000);
  };
  for (const [index, client] of clients.entries()) for (let n = 0; n < IN_FLIGHT; n++) issue(client, frames[index]!);
  await sleep(1000);
  const cpuBefore = pid === undefined ? undefined : cpuSeconds(pid);
  isMeasuring = true;
  const startedMs = performance.now();
  await sleep(SECONDS * 1000);
  isMeasuring = false;
  const elapsed = (performance.now() - startedMs) / 1000;
  const cpuAfter = pid === undefined ? undefined : cpuSeconds(pid);
  isRunning = false;
  await sleep(200);
  for (const client of clients) client.close();
  if (errors > 0) process.stdout.write(`  ${errors} requests failed\n`);
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)] ?? 0;
  return {
    requestsPerSecond: done / elapsed,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    cpuPerMillion:
      cpuBefore === undefined || cpuAfter === undefined ? undefined : ((cpuAfter - cpuBefore) / done) * 1e6,
  };
}

/** From the proxy's log, which is read to its end. */
function listeningPort(log: Readable): Promise<number> {
  return new Promise((resolve, reject) => {
    createInterface({ input: log })
      .on('line', (line) => {
        const { msg, port } = JSON.parse(line) as { msg: string; port?: number };
        if (msg.startsWith('CQL server listening') && port !== undefined) resolve(port);
      })
      .on('close', () => reject(new Error('the proxy did not start')));
  });
}

async function throughProxy(phase: string, origin: number, target: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-bench-'));
  const config = {
    origin: { contactPoints: ['127.0.0.1'], port: origin },
    target: { contactPoints: ['127.0.0.1'], port: target },
    ledger: { kind: 'file', path: join(folder, 'ledger') },
    proxy: {
      listen: { host: '127.0.0.1', port: 0 },
      admin: { host: '127.0.0.1', port: 0 },
      instance: 'bench',
      initialPhase: phase,
    },
    failedWrites: { journalDir: join(folder, 'journal') },
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'migration.yaml'), JSON.stringify(config));
  const main = join(import.meta.dirname, '..', '..', 'proxy-container', 'src', 'main.ts');
  const child = spawn(process.execPath, [main, '--config', join(folder, 'migration.yaml')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, RINGSHIFT_LOG_LEVEL: 'info' },
  });
  try {
    return await load(await listeningPort(child.stdout), child.pid);
  } finally {
    child.kill('SIGTERM');
    await new Promise((resolve) => child.once('exit', resolve));
    rmSync(folder, { recursive: true, force: true });
  }
}

function print(name: string, figures: Figures, direct: Figures): void {
  const cells = [
    name.padEnd(16),
    `${Math.round(figures.requestsPerSecond)} req/s`.padStart(14),
    `${(figures.requestsPerSecond / direct.requestsPerSecond).toFixed(2)} × direct`.padStart(14),
    `p50 ${figures.p50Ms.toFixed(2)} ms`.padStart(13),
    `p99 ${figures.p99Ms.toFixed(2)} ms`.padStart(14),
    figures.cpuPerMillion === undefined ? '' : `${figures.cpuPerMillion.toFixed(1)} CPU s per million`,
  ];
  process.stdout.write(`${cells.join('  ')}\n`);
}

const clusters = [new MockCluster(), new MockCluster()] as const;
for (const cluster of clusters) cluster.keepsRequests = false;
const [origin, target] = [await clusters[0].listen(), await clusters[1].listen()];
process.stdout.write(`${CLIENTS} clients × ${IN_FLIGHT} in flight, ${SECONDS} s each: ${TEXT}\n`);
const direct = await load(origin, undefined);
print('direct', direct, direct);
for (const phase of phases) print(phase, await throughProxy(phase, origin, target), direct);
await Promise.all(clusters.map((cluster) => cluster.close()));
