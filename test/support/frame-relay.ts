import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { FrameSplitter, opcodeOf, streamIdOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';

/** What happens to a request on its way. A lost reply is one to a request that was applied. */
export interface Fate {
  readonly delayMs?: number;
  /** Kept until `release`, which sends it also when nobody waits for its reply any more. */
  readonly hold?: boolean;
  readonly lose?: 'request' | 'reply';
}

const STATEMENTS: ReadonlySet<number> = new Set([Opcode.QUERY, Opcode.EXECUTE, Opcode.BATCH]);

/** A relay that knows frames of v3 and v4: statements may be delayed, each by itself, or lost. v5 passes as it is, or waits. */
export class FrameRelay {
  /** Asked for each statement. */
  fateOf: (frame: Buffer) => Fate = () => ({});
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  readonly #held: (() => void)[] = [];
  /** Clients of v5. */
  readonly #piped = new Set<Socket>();

  constructor(to: { readonly host: string; readonly port: number }) {
    this.#server = createServer({ noDelay: true }, (client) => this.#join(client, connect({ ...to, noDelay: true })));
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many requests are held. */
  get heldCount(): number {
    return this.#held.length;
  }

  /** Sends what was held, the latest first. */
  release(): void {
    for (const send of this.#held.splice(0).reverse()) send();
  }

  /** What clients of v5 send waits until it is heard again. */
  mute(): void {
    for (const client of this.#piped) client.pause();
  }

  unmute(): void {
    for (const client of this.#piped) client.resume();
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #join(client: Socket, node: Socket): void {
    for (const socket of [client, node]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        node.destroy();
      });
    }
    client.once('data', (first: Buffer) => {
      if ((first[0]! & 0x7f) >= 5) {
        node.write(first);
        client.pipe(node).pipe(client);
        this.#piped.add(client);
        client.on('close', () => this.#piped.delete(client));
      } else this.#relay(client, node, first);
    });
  }

  #relay(client: Socket, node: Socket, first: Buffer): void {
    const lostReplies = new Set<number>();
    const requests = new FrameSplitter();
    const replies = new FrameSplitter();
    const take = (chunk: Buffer): void =>
      requests.push(chunk, (view) => {
        const frame = Buffer.from(view);
        const fate = STATEMENTS.has(opcodeOf(frame)) ? this.fateOf(frame) : {};
        if (fate.lose === 'request') return;
        if (fate.lose === 'reply') lostReplies.add(streamIdOf(frame));
        const send = (): void => void node.write(frame);
        if (fate.hold) this.#held.push(send);
        else if (fate.delayMs === undefined) send();
        else setTimeout(send, fate.delayMs);
      });
    take(first);
    client.on('data', take);
    node.on('data', (chunk: Buffer) =>
      replies.push(chunk, (frame) => {
        if (!lostReplies.delete(streamIdOf(frame))) client.write(Buffer.from(frame));
      }),
    );
  }
}
