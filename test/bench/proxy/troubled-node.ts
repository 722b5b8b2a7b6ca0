import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { encodeFrame, FrameSplitter } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { encodeSchemaChangeEvent } from '#core/cql/schema-change.ts';
import { STUB_HOST, STUB_PORTS } from './tools.ts';

/** What becomes of answers: passed on, passed on late, among many frames that nobody asked for, or nothing is taken at all. */
export const TROUBLES = ['answers', 'is slow', 'floods', 'hangs'] as const;
export type Trouble = (typeof TROUBLES)[number];

const SLOW_MS = 400;
const FLOOD_FRAMES = 20;
const EVENT = encodeFrame(
  { version: 4, isResponse: true, flags: 0, streamId: -1, opcode: Opcode.EVENT },
  encodeSchemaChangeEvent({ change: 'UPDATED', target: 'TABLE', keyspace: 'elsewhere', name: 'x'.repeat(200) }, 4),
);

/** The shadow's port in a soak. */
export interface TroubledNode {
  readonly port: number;
  trouble: Trouble;
  close(): void;
}

/** Passes everything on to the stub of the target, with the trouble that is set. */
export function startTroubledNode(): Promise<TroubledNode> {
  const clients = new Set<Socket>();
  let trouble: Trouble = 'answers';
  const server = createServer({ noDelay: true }, (client) => {
    const node = connect({ host: STUB_HOST, port: STUB_PORTS.target, noDelay: true });
    const splitter = new FrameSplitter();
    /** Of the control connection, which speaks the highest version: its segments are not taken apart. */
    let isSegmented: boolean | undefined;
    let last = Promise.resolve();
    const pass = (frame: Buffer): void => {
      client.write(frame);
      if (trouble === 'floods') for (let count = 0; count < FLOOD_FRAMES; count++) client.write(EVENT);
    };
    clients.add(client);
    if (trouble === 'hangs') client.pause();
    client.on('data', (chunk: Buffer) => {
      if (!node.write(chunk)) client.pause();
    });
    node.on('drain', () => {
      if (trouble !== 'hangs') client.resume();
    });
    node.on('data', (chunk: Buffer) => {
      const wait = trouble === 'is slow' ? sleep(SLOW_MS) : undefined;
      last = last.then(async () => {
        await wait;
        isSegmented ??= (chunk[0]! & 0x7f) >= 5;
        if (isSegmented) client.write(chunk);
        else splitter.push(chunk, pass);
      });
    });
    for (const [one, other] of [
      [client, node],
      [node, client],
    ] as const) {
      one
        .on('error', () => undefined)
        .on('close', () => {
          clients.delete(client);
          other.destroy();
        });
    }
  });
  return new Promise((resolve) => {
    server.listen(0, STUB_HOST, () => {
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address ? address.port : 0,
        get trouble() {
          return trouble;
        },
        set trouble(next) {
          trouble = next;
          for (const client of clients) next === 'hangs' ? client.pause() : client.resume();
        },
        close() {
          server.close();
          for (const client of clients) client.destroy();
        },
      });
    });
  });
}
