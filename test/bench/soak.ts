/**
 * Memory of the proxy while nobody keeps up: clients that do not read what they asked for, or slowly, a shadow that
 * answers, is slow, floods and hangs in turn, and clients as usual beside them. Prints the memory curve; it must be flat
 * after the first minutes.
 *
 *   npm run bench:soak -- [--seconds 600] [--rate 5000]
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { encodeFrame } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { ask, startProbed } from './proxy/memory.ts';
import { buildTools, runLoad, startStubs } from './proxy/tools.ts';
import { startTroubledNode, TROUBLES } from './proxy/troubled-node.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '600' }, rate: { type: 'string', default: '5000' } },
});
const SECONDS = Number(values.seconds);
const STEP_SECONDS = 15;
const DEAF_CLIENTS = 8;
const SLOW_CLIENTS = 4;
/** What a slow client reads in a second, at most. */
const SLOW_READS = 20;
/** A key whose first byte is 1 is answered by the stub with 4 KiB. */
const LARGE_READ = 'SELECT v FROM bench.t WHERE k = 0x0100000000000000';
const print = (line: string): boolean => process.stdout.write(`${line}\n`);

/** Asks for large rows for ever and reads a little or nothing; what the kernel does not take waits here, a little of it. */
function startLazyClient(address: string, readsPerSecond: number): Socket {
  const [host, port] = address.split(':');
  const socket = connect({ host: host!, port: Number(port) });
  const frame = (opcode: number, streamId: number, body: Uint8Array): Buffer =>
    encodeFrame({ version: 4, isResponse: false, flags: 0, streamId, opcode }, body);
  socket.on('error', () => undefined);
  socket.write(frame(Opcode.STARTUP, 0, encodeStartup(new Map([['CQL_VERSION', '3.0.0']]))));
  // The first answer is READY; from then on it reads as it likes.
  socket.once('data', () => {
    socket.pause();
    const query = encodeQuery(LARGE_READ, {}, 4);
    let streamId = 0;
    const timer = setInterval(() => {
      for (let count = 0; count < 5 && socket.writableLength < 64 * 1024; count++) {
        streamId = (streamId + 1) % 32_768;
        socket.write(frame(Opcode.QUERY, streamId, query));
      }
    }, 10);
    const reader = setInterval(() => {
      if (readsPerSecond > 0 && socket.listenerCount('data') === 0) socket.once('data', () => socket.pause()).resume();
    }, 1000 / Math.max(1, readsPerSecond));
    socket.on('close', () => {
      clearInterval(timer);
      clearInterval(reader);
    });
  });
  return socket;
}

const tools = await buildTools();
if (tools === undefined) {
  print('skipped: bench:soak needs cargo (https://rustup.rs) for its stub clusters and its load');
  process.exit(0);
}
const cpus = { proxy: 1, rest: 0 };
const stubs = await startStubs(tools, cpus);
const shadow = await startTroubledNode();
const running = await startProbed(cpus, {}, shadow.port);
const lazy = Array.from({ length: DEAF_CLIENTS + SLOW_CLIENTS }, (_, index) =>
  startLazyClient(running.address, index < DEAF_CLIENTS ? 0 : SLOW_READS),
);
print(
  `${DEAF_CLIENTS} clients that do not read, ${SLOW_CLIENTS} that read slowly, ${values.rate} requests/s of others`,
);
try {
  const startedMs = performance.now();
  const load = { clients: 16, inFlight: 16, mix: 'w=80,r=20', version: 4, rate: Number(values.rate) };
  for (let round = 0; performance.now() - startedMs < SECONDS * 1000; round++) {
    const trouble = TROUBLES[round % TROUBLES.length]!;
    shadow.trouble = trouble;
    const processes = { proxyPids: running.pids, otherPids: [stubs.pid] };
    const { errs, p99 } = await runLoad(tools, cpus, {
      to: running.address,
      ...load,
      seconds: STEP_SECONDS - 1,
      warmUpSeconds: 1,
      ...processes,
      mayFail: true,
    });
    await sleep(100);
    const { rssMiB, heapMiB, externalMiB } = await ask(running, 'pauses');
    const second = String(Math.round((performance.now() - startedMs) / 1000)).padStart(4);
    const clients = `p99 ${(p99 / 1000).toFixed(0)} ms${errs > 0 ? `, ${errs} ERRORS` : ''}`;
    const memory = `resident ${rssMiB} MiB, heap ${heapMiB} MiB, buffers ${externalMiB} MiB`;
    print(`${second} s  ${memory}, ${clients}  (the shadow ${trouble})`);
  }
} finally {
  for (const client of lazy) client.destroy();
  await running.stop();
  shadow.close();
  await stubs.stop();
}
