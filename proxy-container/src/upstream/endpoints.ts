import { Certificates } from '#adapters/certificates.ts';
import { type BundlePlaces, findBundlePlaces, readSecureConnectBundle } from '#adapters/cql/secure-connect-bundle.ts';
import type { ResolvedCluster } from '#core/config/schema.ts';
import type { Logger } from '#core/ports.ts';
import type { UpstreamAddress } from './upstream-connection.ts';

/** How long what a bundle's service says of the nodes is believed. */
const PLACES_VALID_MS = 60_000;

/** How the nodes of one cluster are reached: by address, by TLS, or through the proxy of a secure connect bundle. */
export class Endpoints {
  readonly #config: ResolvedCluster;
  readonly #certificates: Certificates | undefined;
  readonly #bundle: ReturnType<typeof readSecureConnectBundle> | undefined;
  #places: BundlePlaces | undefined;
  #placesAtMs = Number.NEGATIVE_INFINITY;

  /** @throws PrerequisiteError when a file of it can't be read */
  constructor(config: ResolvedCluster) {
    const { name, tls, secureConnectBundle } = config;
    this.#config = config;
    this.#certificates = tls.enabled ? new Certificates(tls, `${name}.tls`) : undefined;
    this.#bundle =
      secureConnectBundle === null
        ? undefined
        : readSecureConnectBundle(secureConnectBundle, `${name}.secureConnectBundle`);
  }

  get isBundle(): boolean {
    return this.#bundle !== undefined;
  }

  /** The data center of a bundle, once it is known. */
  get localDatacenter(): string {
    return this.#places?.localDatacenter ?? this.#config.localDatacenter;
  }

  /**
   * The host ids of the nodes behind a bundle; undefined: nothing new since the last time.
   * @param isLost no node of those that were known can be reached
   * @throws ClusterUnreachableError when nothing is known
   */
  async locate(isLost: boolean): Promise<readonly string[] | undefined> {
    if (!this.#bundle) return undefined;
    const isOld = performance.now() - this.#placesAtMs > PLACES_VALID_MS;
    if (this.#places && !isOld && !isLost) return undefined;
    try {
      this.#places = await findBundlePlaces(this.#bundle, this.#config.connectTimeoutMs);
    } catch (error) {
      // What was known may be good for longer than it is believed.
      if (!this.#places || isLost) throw error;
    }
    this.#placesAtMs = performance.now();
    return this.#places.nodes;
  }

  addressOf(host: string): UpstreamAddress {
    const { port, connectTimeoutMs, tls } = this.#config;
    if (this.#bundle && this.#places) {
      const { proxyHost, proxyPort } = this.#places;
      const bundleTls = { context: this.#bundle.context, verifyHostname: true, serverName: host };
      return { host, port: proxyPort, via: proxyHost, connectTimeoutMs, tls: bundleTls };
    }
    if (!this.#certificates) return { host, port, connectTimeoutMs };
    const { context } = this.#certificates;
    return { host, port, connectTimeoutMs, tls: { context, verifyHostname: tls.verifyHostname } };
  }

  watch(logger: Logger): void {
    const { name } = this.#config;
    this.#certificates?.watch(
      () => logger.info('the certificates of a cluster were read again', { cluster: name }),
      (fault) => logger.error('the certificates of a cluster stay as they were', { cluster: name, fault }),
    );
  }

  close(): void {
    this.#certificates?.close();
  }
}
