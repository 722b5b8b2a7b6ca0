import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { bodyOf, encodeFrame } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeExecute, encodePrepare } from '#core/cql/request-messages.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import { Flusher } from '../../../proxy-container/src/transport/frame-writer.ts';
import { openSession } from '../../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { createAuthority, issue } from '../../support/x509.ts';
import { type Running, startOurs } from './contenders.ts';
import { median } from './samples.ts';
import type { Cpus } from './tools.ts';

const CLIENTS = 64;
const IN_FLIGHT = 4;
const TIMEOUT_MS = 30_000;
/** Of /proc/PID/stat, on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const INSERT = 'INSERT INTO bench.t (k, v) VALUES (?, ?)';

/**
 * What TLS to the clients costs the proxy: the same load over connections with it and without. The load comes from this
 * process, since the generator in Rust knows no TLS; only ratios of these figures compare with those of the tables.
 */
export async function measureTls(
  cpus: Cpus,
  { rounds, seconds }: { readonly rounds: number; readonly seconds: number },
): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-bench-tls-'));
  const authority = createAuthority('bench');
  const { cert, key } = issue(authority, 'proxy', { names: ['127.0.0.1'] });
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  const plain = await startOurs(cpus, 'dual-async');
  const secured = await startOurs(cpus, 'dual-async', { listenTls: { certFile, keyFile } });
  try {
    const context = createSecureContext({ ca: authority.cert });
    const costs: Record<'plain' | 'secured', number[]> = { plain: [], secured: [] };
    for (let round = 0; round <= rounds; round++) {
      const without = await costOf(plain, seconds);
      const withTls = await costOf(secured, seconds, { context, verifyHostname: false });
      if (round === 0) continue;
      costs.plain.push(without);
      costs.secured.push(withTls);
    }
    const [without, withTls] = [median(costs.plain)!, median(costs.secured)!];
    const ratio = (withTls / without).toFixed(2);
    return [
      `TLS to clients, dual writes, ${CLIENTS} × ${IN_FLIGHT}, load from Node: ${withTls.toFixed(2)} CPU s/M, without ${without.toFixed(2)}, ratio ${ratio}`,
    ];
  } finally {
    await Promise.all([plain.stop(), secured.stop()]);
    rmSync(folder, { recursive: true, force: true });
  }
}

type Tls = NonNullable<Parameters<typeof UpstreamConnection.open>[0]['tls']>;

/** CPU seconds of the proxy for a million requests. */
async function costOf(running: Running, seconds: number, tls?: Tls): Promise<number> {
  const [host, port] = running.address.split(':');
  const flusher = new Flusher();
  const clients: UpstreamConnection[] = [];
  for (let count = 0; count < CLIENTS; count++) {
    const address = { host: host!, port: Number(port), connectTimeoutMs: TIMEOUT_MS, ...(tls ? { tls } : {}) };
    const client = await UpstreamConnection.open(address, 4, flusher);
    const startup = new Map([['CQL_VERSION', '3.0.0']]);
    await openSession(client, { version: 4, startup, credentials: undefined, keyspace: undefined }, TIMEOUT_MS);
    clients.push(client);
  }
  try {
    const execute = await prepareInsert(clients[0]!);
    let isOver = false;
    let answers = 0;
    const pump = (client: UpstreamConnection): Promise<void> =>
      new Promise((resolve, reject) => {
        const onLost = (): void => reject(new Error('the proxy does not answer'));
        const onReply = (): void => {
          answers++;
          if (isOver || !client.send(execute, { onReply, onLost }, TIMEOUT_MS)) resolve();
        };
        client.send(execute, { onReply, onLost }, TIMEOUT_MS);
      });
    const before = cpuSecondsOf(running);
    const pumps = clients.flatMap((client) => Array.from({ length: IN_FLIGHT }, () => pump(client)));
    setTimeout(() => {
      isOver = true;
    }, seconds * 1000);
    await Promise.all(pumps);
    return ((cpuSecondsOf(running) - before) / answers) * 1e6;
  } finally {
    for (const client of clients) client.close();
  }
}

async function prepareInsert(client: UpstreamConnection): Promise<Buffer> {
  const reply = await client.request(Opcode.PREPARE, 0, encodePrepare(INSERT, 4), TIMEOUT_MS);
  const result = decodeResult(bodyOf(reply), 4);
  if (result.kind !== 'prepared') throw new Error('the stub did not prepare a statement');
  const values = [Buffer.alloc(8), Buffer.alloc(100, 'v')];
  const body = encodeExecute(result.prepared.id, { consistency: 1, values }, 4);
  return encodeFrame({ version: 4, isResponse: false, flags: 0, streamId: 0, opcode: Opcode.EXECUTE }, body);
}

function cpuSecondsOf({ pids }: Running): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks / TICKS_PER_SECOND;
}
