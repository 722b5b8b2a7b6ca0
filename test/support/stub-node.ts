import { createServer, type Server, type Socket } from 'node:net';
import { encodeError } from '#core/cql/error-message.ts';
import { bodyOf, encodeFrame, FrameSplitter, opcodeOf, streamIdOf, versionOf } from '#core/cql/frame.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';

/** Answers one request; undefined leaves it unanswered. */
export type StubHandler = (request: {
  readonly opcode: number;
  readonly body: Buffer;
  readonly socket: Socket;
}) => { readonly opcode: number; readonly body: Buffer } | undefined;

/** A node of protocol v4 and less that is a table from opcode to answer. */
export interface StubNode {
  readonly port: number;
  readonly sockets: ReadonlySet<Socket>;
  /** STARTUP requests seen, by protocol version. */
  readonly startups: number[];
  close(): Promise<void>;
}

/** Starts one on a free port of 127.0.0.1. STARTUP is answered with READY unless `handler` does it. */
export async function startStubNode(handler: StubHandler): Promise<StubNode> {
  const sockets = new Set<Socket>();
  const startups: number[] = [];
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
    const splitter = new FrameSplitter();
    socket.on('data', (chunk: Buffer) => {
      if (chunk[0]! > 5) {
        // A version of DSE, with which cassandra-driver begins.
        const header = { version: 4, isResponse: true, flags: 0, streamId: chunk.readInt16BE(2), opcode: Opcode.ERROR };
        socket.write(encodeFrame(header, refusal(4).body));
        return;
      }
      splitter.push(chunk, (frame) => {
        const version = Math.min(versionOf(frame), 4);
        const request = { opcode: opcodeOf(frame), body: bodyOf(frame), socket };
        if (request.opcode === Opcode.STARTUP) startups.push(versionOf(frame));
        const answer = versionOf(frame) > 4 ? refusal(version) : (handler(request) ?? defaultAnswer(request.opcode));
        if (!answer) return;
        const header = { version, isResponse: true, flags: 0, streamId: streamIdOf(frame), opcode: answer.opcode };
        socket.write(encodeFrame(header, answer.body));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the stub node has no port');
  return {
    port: address.port,
    sockets,
    startups,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function refusal(version: number): { opcode: number; body: Buffer } {
  const message = 'Invalid or unsupported protocol version (5)';
  return { opcode: Opcode.ERROR, body: encodeError({ code: ErrorCode.PROTOCOL_ERROR, message }, version) };
}

function defaultAnswer(opcode: number): { opcode: number; body: Buffer } | undefined {
  return opcode === Opcode.STARTUP ? { opcode: Opcode.READY, body: Buffer.alloc(0) } : undefined;
}
