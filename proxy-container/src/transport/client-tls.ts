import type { Server, Socket } from 'node:net';
import { createServer, type Server as TlsServer } from 'node:tls';
import { type Certificates, openCertificates } from '#adapters/certificates.ts';
import type { Reloaded } from '#adapters/watched-files.ts';
import type { ProxyConfig } from '#core/config/schema.ts';
import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';

const HANDSHAKE_MS = 10_000;
const WARNING_INTERVAL_MS = 1_000;

/** TLS towards clients, TLS 1.2 at least, with certificates of theirs where those are wanted. */
export class ClientTls {
  readonly #certificates: Certificates;
  readonly #options: NonNullable<ProxyConfig['listen']['tls']>;
  readonly #logger: Logger;
  #server: TlsServer | undefined;
  #failedSinceWarning = 0;
  #lastWarningMs = Number.NEGATIVE_INFINITY;

  /** @throws PrerequisiteError when the certificates can't be used */
  constructor(options: NonNullable<ProxyConfig['listen']['tls']>, logger: Logger) {
    this.#options = options;
    this.#logger = logger;
    this.#certificates = openCertificates(options, 'proxy.listen.tls');
  }

  /** A server whose sockets are handed out when their handshake is done. */
  createServer(maxClients: number, onSocket: (socket: Socket) => void): Server {
    const { requireClientCertificate } = this.#options;
    const server = createServer(
      {
        ...this.#certificates.value.material,
        noDelay: true,
        handshakeTimeout: HANDSHAKE_MS,
        requestCert: requireClientCertificate,
        rejectUnauthorized: requireClientCertificate,
      },
      onSocket,
    );
    // Also of handshakes that have not ended; who comes above it is not answered at all.
    server.maxConnections = maxClients * 2;
    server.on('tlsClientError', (error, socket) => this.#warn(error, socket.remoteAddress));
    this.#server = server;
    this.#certificates.watch(
      () => this.#apply(),
      (fault) => this.#logger.error('the certificates for clients stay as they were', { fault }),
    );
    return server;
  }

  close(): void {
    this.#certificates.close();
  }

  /** Reads the certificates again now, where their files have changed. */
  reload(): Reloaded {
    const reloaded = this.#certificates.reload();
    if (reloaded.isChanged) this.#apply();
    return reloaded;
  }

  #apply(): void {
    this.#server?.setSecureContext(this.#certificates.value.material);
    this.#logger.info('the certificates for clients were read again', {});
  }

  /** One line a second at most, with how many it stands for. */
  #warn(error: NodeJS.ErrnoException, address: string | undefined): void {
    this.#failedSinceWarning++;
    const nowMs = performance.now();
    if (nowMs - this.#lastWarningMs < WARNING_INTERVAL_MS) return;
    const failures = this.#failedSinceWarning;
    this.#logger.warn('TLS handshakes of clients failed', { address, reason: faultOf(error), failures });
    this.#lastWarningMs = nowMs;
    this.#failedSinceWarning = 0;
  }
}

const FAULTS: Readonly<Record<string, string>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: 'it gave no certificate, and requireClientCertificate wants one',
  ERR_SSL_HTTP_REQUEST: 'it spoke without TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it spoke without TLS',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no TLS 1.2 or 1.3',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not trust who signed the certificate of proxy.listen.tls.certFile',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'the certificate of proxy.listen.tls.certFile has expired',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: 'it does not accept the certificate of proxy.listen.tls.certFile',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'it does not accept the certificate of proxy.listen.tls.certFile',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is not signed by proxy.listen.tls.caFile',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by proxy.listen.tls.caFile',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by proxy.listen.tls.caFile',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by proxy.listen.tls.caFile',
};

function faultOf(error: NodeJS.ErrnoException): string {
  return FAULTS[error.code ?? ''] ?? error.code ?? describeError(error);
}
