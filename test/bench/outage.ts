/**
 * What the application notices of an outage: writes at a steady rate while both clusters answer, while the target hangs,
 * and while it is gone, each with the queue away, so that everything that fails stays in the journal. Prints the
 * application's latencies, and those of the outage divided by those of before.
 *
 *   npm run bench:outage -- [--rate 2000] [--seconds 30]
 */
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { ProxyStatus } from '../../proxy-container/src/admin/status.ts';
import { type Running, startOurs } from './proxy/contenders.ts';
import { buildTools, runLoad, STUB_HOST, startStubs } from './proxy/tools.ts';
import { startTroubledNode } from './proxy/troubled-node.ts';

const { values } = parseArgs({
  options: { rate: { type: 'string', default: '2000' }, seconds: { type: 'string', default: '30' } },
});
const print = (line: string): boolean => process.stdout.write(`${line}\n`);
const ms = (micros: number): string => `${(micros / 1000).toFixed(2)} ms`;

/** A port where nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer().listen(0, STUB_HOST);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function statusOf({ admin }: Running): Promise<ProxyStatus> {
  const answer = await fetch(`http://${admin}/status`);
  return (await answer.json()) as ProxyStatus;
}

const tools = await buildTools();
if (tools === undefined) {
  print('skipped: bench:outage needs cargo (https://rustup.rs) for its stub clusters and its load');
  process.exit(0);
}
const cpus = { proxy: 1, rest: 0 };
const stubs = await startStubs(tools, cpus);
const target = await startTroubledNode();
const queue = `http://${STUB_HOST}:${await closedPort()}`;
const running = await startOurs(cpus, 'dual-async', {
  targetPort: target.port,
  failedWrites: { queueUrl: `${queue}/000000000000/failed-writes` },
  env: {
    AWS_ENDPOINT_URL: queue,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'bench',
    AWS_SECRET_ACCESS_KEY: 'bench',
  },
});
const measure = async (name: string) => {
  const sample = await runLoad(tools, cpus, {
    to: running.address,
    clients: 16,
    inFlight: 16,
    mix: 'w=100',
    version: 4,
    seconds: Number(values.seconds),
    warmUpSeconds: 2,
    rate: Number(values.rate),
    proxyPids: running.pids,
    otherPids: [stubs.pid],
    mayFail: true,
  });
  const { failedWrites } = await statusOf(running);
  const kept = `${failedWrites.journalMessages.toLocaleString('en-US')} messages in the journal`;
  const errors = `${sample.errs + sample.bad} errors`;
  print(`${name.padEnd(44)} p50 ${ms(sample.p50)}, p99 ${ms(sample.p99)}, ${errors}, ${kept}`);
  return sample;
};
try {
  print(`${values.rate} writes/s of 16 clients; the queue is away all the time`);
  await measure('(for the compiler)');
  const before = await measure('both clusters answer');
  target.trouble = 'hangs';
  const hangs = await measure('the target hangs');
  target.close();
  await sleep(1000);
  const gone = await measure('the target is gone');
  const ratio = (name: string, { p50, p99 }: typeof before): string =>
    `${name} ÷ before: p50 ${(p50 / before.p50).toFixed(2)}, p99 ${(p99 / before.p99).toFixed(2)}`;
  print(`${ratio('hangs', hangs)}; ${ratio('gone', gone)}`);
} finally {
  await running.stop();
  target.close();
  await stubs.stop();
}
