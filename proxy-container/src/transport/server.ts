import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SchemaChange } from '#core/cql/schema-change.ts';
import { describeError, PrerequisiteError } from '#core/errors.ts';
import type { ProxyServices } from '../proxy-services.ts';
import { ClientSession } from '../session/client-session.ts';
import { type Host, sameHost } from '../topology/host.ts';
import type { HostsChange } from '../topology/sisters.ts';
import type { ClientTls } from './client-tls.ts';
import { RefusedClients } from './refused-clients.ts';

/** The listening socket and the clients behind it. */
export class CqlServer {
  readonly #services: ProxyServices;
  readonly #maxClients: number;
  readonly #sessions = new Set<ClientSession>();
  readonly #refused = new RefusedClients();
  readonly #server: Server;

  /** @param tls none: clients come without it */
  constructor(services: ProxyServices, maxClients: number, tls?: ClientTls) {
    const { counters, logger } = services;
    this.#services = services;
    this.#maxClients = maxClients;
    const accept = (socket: Socket): void => {
      // Also of sockets that no session takes.
      socket.on('error', () => undefined);
      if (this.#sessions.size >= this.#maxClients) {
        counters.overloaded++;
        counters.clientsRefused++;
        this.#refused.refuse(
          socket,
          `there are ${this.#maxClients} clients already (proxy.maxClients); try another node`,
        );
        return;
      }
      const session = new ClientSession(socket, services);
      this.#sessions.add(session);
      counters.clientConnections++;
      counters.clientConnectionsTotal++;
      session.onClosed = () => {
        if (this.#sessions.delete(session)) counters.clientConnections--;
      };
    };
    this.#server = tls
      ? tls.createServer(maxClients, accept)
      : createServer({ noDelay: true, pauseOnConnect: true }, accept);
    // Too many open files, for example: who is connected stays so. While it starts to listen, `listenOn` tells.
    this.#server.on('error', (error) => {
      if (!this.#server.listening) return;
      counters.internalErrors++;
      logger.error('a client could not be accepted', { error: describeError(error) });
    });
  }

  /**
   * Starts to accept clients.
   * @returns where: port 0 is any free one
   * @throws PrerequisiteError when the address is taken or not this machine's
   */
  listen(host: string, port: number): Promise<AddressInfo> {
    return listenOn(this.#server, host, port, 'proxy.listen');
  }

  get isListening(): boolean {
    return this.#server.listening;
  }

  /** To every client that has asked for such events. */
  pushSchemaChange(change: SchemaChange): void {
    for (const session of this.#sessions) session.pushSchemaChange(change);
  }

  /**
   * Tells clients which instances there are now. Of the one that a client is connected to it hears nothing.
   * @param self which instance this is for a client that reached it there
   */
  pushHostsChange({ added, removed }: HostsChange, self: (reached: Host) => Host): void {
    for (const session of this.#sessions) {
      const isOther = (host: Host) => !sameHost(host, self(session.face));
      for (const host of added.filter(isOther)) {
        session.pushHostEvent('TOPOLOGY_CHANGE', 'NEW_NODE', host);
        session.pushHostEvent('STATUS_CHANGE', 'UP', host);
      }
      for (const host of removed.filter(isOther)) session.pushHostEvent('TOPOLOGY_CHANGE', 'REMOVED_NODE', host);
    }
  }

  /** Accepts nobody any more, lets requests under way finish, then closes every client. */
  async drain(withinMs: number): Promise<void> {
    this.#server.close();
    for (const session of this.#sessions) session.drain();
    const deadline = performance.now() + withinMs;
    while (this.#sessions.size > 0 && performance.now() < deadline) await sleep(10);
    if (this.#sessions.size > 0) {
      this.#services.logger.warn('clients are closed with requests in flight', { clients: this.#sessions.size });
    }
    for (const session of this.#sessions) session.close();
    this.#refused.close();
  }
}

/** Listens, with an error that says what to do; gives the address, whose port tells when 0 was asked for. @throws PrerequisiteError */
export function listenOn(
  server: Pick<Server, 'listen' | 'address'> & NodeJS.EventEmitter,
  host: string,
  port: number,
  setting: string,
): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const remedies: Readonly<Record<string, string>> = {
        EADDRINUSE: `the port is in use: stop what listens there, or set ${setting}.port`,
        EADDRNOTAVAIL: `this machine has no such address: set ${setting}.host`,
        EACCES: `this user may not listen there: set ${setting}.port to one above 1023`,
      };
      reject(
        new PrerequisiteError(`can't listen on ${host}:${port}: ${remedies[error.code ?? ''] ?? error.message}`, {
          cause: error,
        }),
      );
    });
    server.once('listening', () => resolve(server.address() as AddressInfo));
    server.listen(port, host);
  });
}
