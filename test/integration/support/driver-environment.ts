/** A proxy between the test clusters for one driver's checks, and the things that are done to it meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'cassandra-driver';
import { ProxyProcess } from '../../support/proxy-process.ts';
import { TcpRelay } from '../../support/tcp-relay.ts';
import { connectToTestCluster, recreateKeyspace } from './clusters.ts';
import type { Asks } from './driver-program.ts';
import { type HostAndPort, readTestEnvironment } from './test-environment.ts';

/** Of the role that may read and nothing else. */
export const readerLogin = { username: 'driver_reader', password: 'reader' } as const;

const REQUEST_TIMEOUT_MS = 5000;

export class DriverEnvironment {
  readonly origin: Client;
  readonly target: Client;
  readonly proxy: ProxyProcess;
  readonly listen: HostAndPort;
  readonly relay: TcpRelay;
  readonly #keyspaces: readonly string[];

  private constructor(
    origin: Client,
    target: Client,
    relay: TcpRelay,
    proxy: ProxyProcess,
    listen: HostAndPort,
    keyspaces: readonly string[],
  ) {
    this.#keyspaces = keyspaces;
    this.origin = origin;
    this.target = target;
    this.relay = relay;
    this.proxy = proxy;
    this.listen = listen;
  }

  /**
   * Starts a proxy in `dual-async` that reaches the origin through a relay.
   * @param port of the proxy; its admin API and the relay have the next two
   * @param keyspaces those of the checks through the proxy, made anew on both clusters; each with a second one, `_2`
   * @param direct those of the checks without it
   */
  static async start(
    port: number,
    keyspaces: readonly string[],
    direct: readonly string[],
  ): Promise<DriverEnvironment> {
    const environment = readTestEnvironment();
    const { proxyAddress: host, username, password } = environment;
    const [origin, target] = await Promise.all([connectToTestCluster('origin'), connectToTestCluster('target')]);
    const names = [...keyspaces, ...direct].flatMap((one) => [one, `${one}_2`]);
    const prepare = async (client: Client): Promise<void> => {
      const { username: role, password: secret } = readerLogin;
      await client.execute(`CREATE ROLE IF NOT EXISTS ${role} WITH password = '${secret}' AND login = true`);
      for (const name of names) {
        await recreateKeyspace(client, name);
        await client.execute(`GRANT SELECT ON KEYSPACE ${name} TO ${role}`);
      }
    };
    await Promise.all([origin, target].map(prepare));
    const relayPlace = { host, port: port + 2 };
    const relay = new TcpRelay(relayPlace.host, relayPlace.port, environment.origin);
    await relay.restore();
    const proxy = new ProxyProcess({
      listen: { host, port },
      admin: { host, port: port + 1 },
      origin: relayPlace,
      target: environment.target,
      login: { username, password },
      clusters: { requestTimeoutMs: REQUEST_TIMEOUT_MS },
      proxy: { initialPhase: 'dual-async' },
    });
    const started = new DriverEnvironment(origin, target, relay, proxy, { host, port }, names);
    try {
      await proxy.start();
    } catch (error) {
      await started.stop();
      throw error;
    }
    return started;
  }

  async stop(): Promise<void> {
    await this.proxy.stop();
    await this.relay.cut();
    this.proxy.cleanUp();
    // Each definition costs more, the more tables a cluster has.
    for (const client of [this.origin, this.target]) {
      for (const name of this.#keyspaces)
        await client.execute(`DROP KEYSPACE IF EXISTS ${name}`).catch(() => undefined);
    }
    await Promise.all([this.origin.shutdown(), this.target.shutdown()]);
  }

  /** What programs may ask for. */
  asks(keyspace: string): Asks {
    // A statement is forgotten by a node when a column is added to its table.
    const forget = (client: Client) => () => client.execute(`ALTER TABLE ${keyspace}.forgotten ADD more int`);
    return {
      'mute origin': async () => this.relay.mute(),
      'unmute origin': async () => this.relay.unmute(),
      'break origin': () => this.relay.cut().then(() => this.relay.restore()),
      'forget on origin': forget(this.origin),
      'forget on target': forget(this.target),
      'restart proxy': () => this.proxy.stop().then(() => this.proxy.start()),
    };
  }

  /** From now on everything goes to the target alone. */
  async cutOver(): Promise<void> {
    for (const phase of ['dual-sync', 'target-primary', 'target-only']) await this.proxy.setPhase(phase);
  }

  /** Resolves when all copies of writes have arrived or were given up. */
  async settled(): Promise<void> {
    while ((await this.proxy.counters())['shadowInFlight'] !== 0) await sleep(50);
  }
}
