import { encodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { decodeAuthToken, decodePlainToken, encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { ProtocolError } from '#core/errors.ts';
import type { ClusterName } from '../upstream/cluster.ts';
import type { Credentials } from '../upstream/handshake.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import { type Clusters, SessionUpstreams } from './session-upstreams.ts';

/** Options that say something of one client only; connections are shared by clients that differ in nothing else. */
const PRIVATE_OPTIONS = new Set(['COMPRESSION', 'CLIENT_ID', 'APPLICATION_NAME', 'APPLICATION_VERSION']);

export interface LoginStep {
  readonly opcode: number;
  readonly body: Buffer;
  /** Set when the login is complete. */
  readonly upstreams?: SessionUpstreams;
}

/**
 * The login of one client, spoken with the primary: every SASL message is relayed to a connection of its own there, so
 * the cluster itself decides, each time. A PLAIN login is then used on the other cluster too, and nothing else is: the
 * client never has more rights than its own.
 */
export class Login {
  readonly #clusters: Clusters;
  readonly #primary: ClusterName;
  readonly #version: number;
  readonly #startup: ReadonlyMap<string, string>;
  #connection: UpstreamConnection | undefined;
  #credentials: Credentials | undefined;

  constructor(clusters: Clusters, primary: ClusterName, version: number, options: ReadonlyMap<string, string>) {
    this.#clusters = clusters;
    this.#primary = primary;
    this.#version = version;
    this.#startup = new Map([...options].filter(([name]) => !PRIVATE_OPTIONS.has(name)));
  }

  /** STARTUP. @throws ClusterUnreachableError, RequestTimeoutError */
  async start(): Promise<LoginStep> {
    const cluster = this.#clusters[this.#primary];
    this.#connection = await cluster.connect(this.#version);
    const reply = await this.#connection.startup(encodeStartup(this.#startup), cluster.config.connectTimeoutMs);
    return this.#step(reply);
  }

  /** AUTH_RESPONSE. @throws ClusterUnreachableError, RequestTimeoutError, ProtocolError */
  async respond(body: Buffer): Promise<LoginStep> {
    if (!this.#connection) throw new ProtocolError('AUTH_RESPONSE before STARTUP');
    const token = decodeAuthToken(body);
    this.#credentials = (token && decodePlainToken(token)) ?? undefined;
    const { connectTimeoutMs } = this.#clusters[this.#primary].config;
    return this.#step(await this.#connection.request(Opcode.AUTH_RESPONSE, 0, body, connectTimeoutMs));
  }

  /** Gives up the connection of an unfinished login. */
  abandon(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #step(reply: Buffer): LoginStep {
    const opcode = opcodeOf(reply);
    const body = bodyOf(reply);
    if (opcode === Opcode.READY) return { opcode, body, upstreams: this.#finish(false) };
    if (opcode === Opcode.AUTH_SUCCESS) {
      if (this.#credentials) return { opcode, body, upstreams: this.#finish(true) };
      // Shared connections are told apart by user name and password; a login without them can't be told from another.
      this.abandon();
      const message = 'The proxy takes logins with user name and password (SASL PLAIN) only';
      return { opcode: Opcode.ERROR, body: encodeError({ code: ErrorCode.AUTH_ERROR, message }, this.#version) };
    }
    if (opcode === Opcode.ERROR) this.abandon();
    return { opcode, body };
  }

  /** The verified connection carries requests from now on, if there is room for one more. */
  #finish(hasLogin: boolean): SessionUpstreams {
    const other = this.#primary === 'origin' ? 'target' : 'origin';
    // Where the primary asks nobody who he is, everybody may do everything: the proxy's own login adds no right.
    const forOther = hasLogin ? this.#credentials : (this.#clusters[other].config.credentials ?? undefined);
    const credentials = { [this.#primary]: this.#credentials, [other]: forOther } as Record<
      ClusterName,
      Credentials | undefined
    >;
    const upstreams = new SessionUpstreams(this.#clusters, {
      version: this.#version,
      startup: this.#startup,
      credentials,
    });
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection && !upstreams.pool(this.#primary).adopt(connection)) connection.close();
    return upstreams;
  }
}
