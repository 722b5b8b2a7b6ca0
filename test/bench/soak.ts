/**
 * Memory of the proxy while nobody keeps up: clients that do not read what they asked for, a shadow that hangs for half
 * of each minute, and clients as usual beside them. Prints the memory curve; it must be flat after the first minute.
 *
 *   npm run bench:soak -- [--seconds 600] [--rate 5000]
 */
import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { encodeFrame } from '#core/cql/frame.ts';
import { encodeStartup } from '#core/cql/handshake-messages.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeQuery } from '#core/cql/request-messages.ts';
import { ask, startProbed } from './proxy/memory.ts';
import { buildTools, runLoad, STUB_HOST, STUB_PORTS, startStubs } from './proxy/tools.ts';

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '600' }, rate: { type: 'string', default: '5000' } },
});
const SECONDS = Number(values.seconds);
const STEP_SECONDS = 15;
const DEAF_CLIENTS = 8;
/** A key whose first byte is 1 is answered by the stub with 4 KiB. */
const LARGE_READ = 'SELECT v FROM bench.t WHERE k = 0x0100000000000000';
const print = (line: string): boolean => process.stdout.write(`${line}\n`);

/** The shadow's port: passes everything on, or nothing while `isHanging`. */
function startHangingNode(): Promise<{ port: number; hang(isHanging: boolean): void; close(): void }> {
  const sockets = new Set<Socket>();
  let hangs = false;
  const server = createServer((client) => {
    const node = connect({ host: STUB_HOST, port: STUB_PORTS.target });
    for (const [from, to] of [
      [client, node],
      [node, client],
    ] as const) {
      sockets.add(from);
      from
        .on('error', () => undefined)
        .on('close', () => {
          sockets.delete(from);
          to.destroy();
        });
      from.on('data', (chunk: Buffer) => {
        if (!to.write(chunk)) from.pause();
      });
      to.on('drain', () => {
        if (!hangs) from.resume();
      });
    }
    if (hangs) client.pause();
  });
  return new Promise((resolve) => {
    server.listen(0, STUB_HOST, () => {
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address ? address.port : 0,
        hang(isHanging) {
          hangs = isHanging;
          for (const socket of sockets) isHanging ? socket.pause() : socket.resume();
        },
        close() {
          server.close();
          for (const socket of sockets) socket.destroy();
        },
      });
    });
  });
}

/** Asks for large rows for ever and never reads; what the kernel does not take waits in this process, a little of it. */
function startDeafClient(address: string): Socket {
  const [host, port] = address.split(':');
  const socket = connect({ host: host!, port: Number(port) });
  const frame = (opcode: number, streamId: number, body: Uint8Array): Buffer =>
    encodeFrame({ version: 4, isResponse: false, flags: 0, streamId, opcode }, body);
  socket.on('error', () => undefined);
  socket.write(frame(Opcode.STARTUP, 0, encodeStartup(new Map([['CQL_VERSION', '3.0.0']]))));
  // The first answer is READY; from then on nothing is read.
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
    socket.on('close', () => clearInterval(timer));
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
const shadow = await startHangingNode();
const running = await startProbed(cpus, {}, shadow.port);
const deaf = Array.from({ length: DEAF_CLIENTS }, () => startDeafClient(running.address));
print(`${DEAF_CLIENTS} clients that do not read, ${values.rate} dual writes/s, the shadow hangs half of the time`);
try {
  const startedMs = performance.now();
  const load = { clients: 16, inFlight: 16, mix: 'w=80,r=20', version: 4, rate: Number(values.rate) };
  for (let round = 0; performance.now() - startedMs < SECONDS * 1000; round++) {
    shadow.hang(round % 4 >= 2);
    const processes = { proxyPids: running.pids, otherPids: [stubs.pid] };
    await runLoad(tools, cpus, {
      to: running.address,
      ...load,
      seconds: STEP_SECONDS - 1,
      warmUpSeconds: 1,
      ...processes,
    });
    await sleep(100);
    const { rssMiB, heapMiB, externalMiB } = await ask(running, 'pauses');
    const second = String(Math.round((performance.now() - startedMs) / 1000)).padStart(4);
    const state = round % 4 >= 2 ? 'hangs' : 'answers';
    print(
      `${second} s  resident ${rssMiB} MiB, heap ${heapMiB} MiB, buffers ${externalMiB} MiB  (the shadow ${state})`,
    );
  }
} finally {
  for (const client of deaf) client.destroy();
  await running.stop();
  shadow.close();
  await stubs.stop();
}
