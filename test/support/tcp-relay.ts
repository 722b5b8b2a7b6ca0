import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * A TCP forwarder that a test can cut: connections break and new ones are refused until it is restored. Or mute: nothing
 * arrives any more, and nobody is told.
 */
export class TcpRelay {
  readonly #host: string;
  readonly #port: number;
  readonly #to: { readonly host: string; readonly port: number };
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #isMute = false;

  constructor(host: string, port: number, to: { readonly host: string; readonly port: number }) {
    this.#host = host;
    this.#port = port;
    this.#to = to;
  }

  restore(): Promise<void> {
    const server = createServer((client) => {
      const upstream = connect(this.#to);
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket);
        socket.setNoDelay(true);
        socket.on('error', () => undefined);
        socket.on('close', () => {
          this.#sockets.delete(socket);
          client.destroy();
          upstream.destroy();
        });
      }
      client.pipe(upstream).pipe(client);
      if (this.#isMute) for (const socket of [client, upstream]) socket.pause();
    });
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, this.#host, () => resolve());
    });
  }

  cut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => (server ? server.close(() => resolve()) : resolve()));
  }

  /** What is sent waits until it is heard again; connections stay open, and new ones are accepted. */
  mute(): void {
    this.#isMute = true;
    for (const socket of this.#sockets) socket.pause();
  }

  unmute(): void {
    this.#isMute = false;
    for (const socket of this.#sockets) socket.resume();
  }
}
