import { lookup as lookupDns } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProxyConfig } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import { parseHostPort } from '#core/model/host-port.ts';
import type { Logger } from '#core/ports.ts';
import { compareHosts, type Host, hostAt, sameHost } from './host.ts';

/** More instances than this are not shown; the same ones are left out everywhere. */
const MAX_HOSTS = 256;
/** An address is gone when so many answers in a row lack it: some name servers give a part of a long list. */
const MISSES_UNTIL_GONE = 3;

/** How the instances changed between two looks at the name. */
export interface HostsChange {
  readonly added: readonly Host[];
  readonly removed: readonly Host[];
}

export interface SistersOptions {
  readonly config: ProxyConfig['topology'];
  /** Where this instance listens. */
  readonly port: number;
  readonly logger: Logger;
  readonly onChange: (change: HostsChange) => void;
  /** Addresses of a name; the system's resolver unless given. */
  readonly lookup?: (name: string) => Promise<readonly string[]>;
  /** Addresses of this machine; asked for unless given. */
  readonly ownAddresses?: () => readonly string[];
}

/**
 * The instances of the proxy as drivers are to see them: those of a list, or of a name. The list alone decides, so that
 * one that is stopped for a moment stays where it is on the ring; drivers try it again as they try a node.
 */
export class Sisters {
  readonly #options: SistersOptions;
  readonly #stop = new AbortController();
  #hosts: readonly Host[];
  #misses = new Map<string, number>();
  #isAway = false;
  #running: Promise<void> | undefined;

  constructor(options: SistersOptions) {
    const { config, port } = options;
    this.#options = options;
    const listed = config.sisters.flatMap((text) => {
      const parsed = parseHostPort(text);
      return parsed ? [hostAt(parsed.address, parsed.port ?? config.port ?? port)] : [];
    });
    this.#hosts = ordered(listed);
  }

  /** In the order of their addresses; none when each instance shows itself alone. */
  get hosts(): readonly Host[] {
    return this.#hosts;
  }

  /** Resolves the name for the first time, if there is one, and then again and again until `stop`. */
  async start(): Promise<void> {
    const { service, refreshSecs } = this.#options.config;
    if (service === null) return;
    await this.#resolve(service);
    this.#running = this.#run(service, refreshSecs * 1000);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /**
   * Which host this instance is for a client that reached it there: that very one if it is listed, else the listed one
   * that is an address of this machine, else what the client reached.
   */
  self(reached: Host): Host {
    const hosts = this.#hosts;
    if (hosts.length === 0) return reached;
    const { config, port } = this.#options;
    const named = config.address === null ? undefined : parseHostPort(config.address);
    if (named) return hostAt(named.address, named.port ?? config.port ?? port);
    const exact = hosts.find((host) => sameHost(host, reached));
    if (exact) return exact;
    const alike = hosts.filter((host) => host.address === reached.address);
    if (alike.length === 1) return alike[0]!;
    const own = new Set((this.#options.ownAddresses ?? ownAddresses)());
    const mine = hosts.filter((host) => own.has(host.address));
    return mine.length === 1 ? mine[0]! : reached;
  }

  async #run(service: string, intervalMs: number): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await this.#resolve(service);
    }
  }

  /** Looks once. What can't be resolved changes nothing: those who were there are still there, for all that is known. */
  async #resolve(service: string): Promise<void> {
    const { config, port, logger } = this.#options;
    try {
      const found = await (this.#options.lookup ?? lookupAll)(service);
      // One of a zone (fe80::1%eth0) means something on one machine alone.
      const addresses = found.filter((address) => isIP(address) !== 0 && !address.includes('%'));
      if (addresses.length === 0) throw new Error('it has no address that others could use');
      this.#take(ordered(addresses.map((address) => hostAt(address, config.port ?? port))));
      if (this.#isAway) logger.info('the name of the instances can be resolved again', { service });
      this.#isAway = false;
    } catch (error) {
      if (!this.#isAway) {
        logger.warn('the name of the instances can not be resolved; those known stay', {
          service,
          known: this.#hosts.length,
          reason: describeError(error),
        });
      }
      this.#isAway = true;
    }
  }

  #take(found: readonly Host[]): void {
    const isFound = (host: Host) => found.some((one) => sameHost(one, host));
    const misses = new Map<string, number>();
    const missing = this.#hosts.filter((host) => {
      if (isFound(host)) return false;
      const key = `${host.address} ${host.port}`;
      const count = (this.#misses.get(key) ?? 0) + 1;
      misses.set(key, count);
      return count < MISSES_UNTIL_GONE;
    });
    const next = ordered([...found, ...missing]);
    if (found.length + missing.length > MAX_HOSTS) {
      this.#options.logger.warn('there are more instances than are shown', { shown: MAX_HOSTS });
    }
    const before = this.#hosts;
    this.#misses = misses;
    this.#hosts = next;
    const added = next.filter((host) => !before.some((one) => sameHost(one, host)));
    const removed = before.filter((host) => !next.some((one) => sameHost(one, host)));
    if (added.length + removed.length > 0) this.#options.onChange({ added, removed });
  }
}

function ordered(hosts: readonly Host[]): readonly Host[] {
  const sorted = [...hosts].sort(compareHosts);
  return sorted.filter((host, index) => index === 0 || !sameHost(host, sorted[index - 1]!)).slice(0, MAX_HOSTS);
}

async function lookupAll(name: string): Promise<readonly string[]> {
  return (await lookupDns(name, { all: true, order: 'verbatim' })).map(({ address }) => address);
}

function ownAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).map(({ address }) => hostAt(address.split('%')[0]!, 0).address),
  );
}
