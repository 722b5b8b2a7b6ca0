import type { ResolvedCluster } from '#core/config/schema.ts';
import { ClusterUnreachableError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import { type Certificates, openCertificates } from '../certificates.ts';
import { type Reloaded, WatchedFiles } from '../watched-files.ts';
import type { NodeAddress } from './node-socket.ts';
import {
  type BundlePlaces,
  findBundlePlaces,
  readSecureConnectBundle,
  type SecureConnectBundle,
} from './secure-connect-bundle.ts';

/** How long what a bundle's service says of the nodes is believed. */
const PLACES_VALID_MS = 60_000;

/** How the nodes of one cluster are reached: by address, by TLS, or through the proxy of a secure connect bundle. */
export class Endpoints {
  readonly #config: ResolvedCluster;
  readonly #certificates: Certificates | undefined;
  readonly #bundle: WatchedFiles<SecureConnectBundle> | undefined;
  #places: BundlePlaces | undefined;
  #placesAtMs = Number.NEGATIVE_INFINITY;
  /** The bundle whose service was asked last. */
  #placedBy: SecureConnectBundle | undefined;

  /** @throws PrerequisiteError when a file of it can't be read */
  constructor(config: ResolvedCluster) {
    const { name, tls, secureConnectBundle } = config;
    const setting = `${name}.secureConnectBundle`;
    this.#config = config;
    this.#certificates = tls.enabled ? openCertificates(tls, `${name}.tls`) : undefined;
    this.#bundle =
      secureConnectBundle === null
        ? undefined
        : new WatchedFiles(setting, [secureConnectBundle], () => readSecureConnectBundle(secureConnectBundle, setting));
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
    const bundle = this.#bundle.value;
    const isOld = performance.now() - this.#placesAtMs > PLACES_VALID_MS || bundle !== this.#placedBy;
    if (this.#places && !isOld && !isLost) return undefined;
    // Also where it can't be asked: what was known is believed once more, and it is not asked for each connection.
    this.#placedBy = bundle;
    try {
      this.#places = await findBundlePlaces(bundle, this.#config.connectTimeoutMs);
    } catch (error) {
      // What was known may be good for longer than it is believed.
      if (!this.#places || isLost) throw error;
    }
    this.#placesAtMs = performance.now();
    return this.#places.nodes;
  }

  /**
   * To be asked for each connection, because certificates are renewed.
   * @throws ClusterUnreachableError while nothing is known of the nodes behind a bundle
   */
  addressOf(host: string, port: number = this.#config.port): NodeAddress {
    if (this.#bundle) {
      if (!this.#places)
        throw new ClusterUnreachableError(`where ${host} is, ${this.#bundle.setting} does not say yet`);
      const { proxyHost, proxyPort } = this.#places;
      const tls = { context: this.#bundle.value.context, verifyHostname: true, serverName: host };
      return { host, port: proxyPort, via: proxyHost, tls };
    }
    if (!this.#certificates) return { host, port };
    const { context } = this.#certificates.value;
    return { host, port, tls: { context, verifyHostname: this.#config.tls.verifyHostname } };
  }

  /** Takes files that have changed. */
  reload(): Reloaded[] {
    return this.#watched.map((files) => files.reload());
  }

  /** Looks at the files now and then. */
  watch(logger: Pick<Logger, 'info' | 'error'>): void {
    for (const files of this.#watched) {
      const { setting } = files;
      files.watch(
        () => logger.info('the certificates of a cluster were read again', { setting }),
        (fault) => logger.error('the certificates of a cluster stay as they were', { setting, fault }),
      );
    }
  }

  close(): void {
    for (const files of this.#watched) files.close();
  }

  get #watched(): WatchedFiles<unknown>[] {
    return [this.#certificates, this.#bundle].filter((files) => files !== undefined);
  }
}
