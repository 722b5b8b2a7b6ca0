import { DSE_PLAIN } from '#adapters/cql/authenticator.ts';
import type { Credentials, ResolvedLogins } from '#core/config/access-schema.ts';
import type { Phase } from '#core/config/schema.ts';
import { encodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { decodeAuthenticate, decodeAuthToken, decodePlainToken, encodeStartup } from '#core/cql/handshake-messages.ts';
import { ErrorCode, Opcode } from '#core/cql/protocol.ts';
import { AuthenticationFailedError, ClusterUnreachableError, describeError, ProtocolError } from '#core/errors.ts';
import { primaryOf, shadowOf } from '#core/ledger/phase-change.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Logger } from '#core/ports.ts';
import { logIn, openSession } from '../upstream/handshake.ts';
import type { UpstreamConnection } from '../upstream/upstream-connection.ts';
import { planLogin } from './login-policy.ts';
import { type Clusters, SessionUpstreams } from './session-upstreams.ts';

/** Options that say something of one client only; connections are shared by clients that differ in nothing else. */
const PRIVATE_OPTIONS = new Set(['COMPRESSION', 'CLIENT_ID', 'APPLICATION_NAME', 'APPLICATION_VERSION']);
/** SASL mechanisms take a few steps; a client that wants more speaks none. */
const MAX_STEPS = 16;

export interface LoginStep {
  readonly opcode: number;
  readonly body: Buffer;
  /** Set when the login is complete. */
  readonly upstreams?: SessionUpstreams;
}

export interface LoginOptions {
  readonly clusters: Clusters;
  readonly logins: ResolvedLogins;
  /** The one in force. */
  readonly phase: () => Phase;
  readonly logger: Logger;
  readonly version: number;
  /** Those of STARTUP. */
  readonly startup: ReadonlyMap<string, string>;
}

/**
 * The login of one client: every SASL message is relayed to a connection of its own to the primary, so a cluster decides,
 * each time. A login with user name and password is used on the other cluster too, or what `proxy.logins` maps it to. One
 * of another mechanism can't be repeated: its connection stays this client's own.
 */
export class Login {
  readonly #options: LoginOptions;
  readonly #primary: ClusterName;
  readonly #other: ClusterName;
  readonly #startup: ReadonlyMap<string, string>;
  #connection: UpstreamConnection | undefined;
  #authenticate: Buffer | undefined;
  /** What the client gave, if it was user name and password. */
  #given: Credentials | undefined;
  #mechanism = '';
  #steps = 0;
  #isAbandoned = false;

  constructor(options: LoginOptions) {
    this.#options = options;
    this.#primary = primaryOf(options.phase());
    this.#other = this.#primary === 'origin' ? 'target' : 'origin';
    this.#startup = new Map([...options.startup].filter(([name]) => !PRIVATE_OPTIONS.has(name)));
  }

  /** STARTUP. @throws ClusterUnreachableError, RequestTimeoutError, AuthenticationFailedError */
  async start(): Promise<LoginStep> {
    const cluster = this.#cluster;
    const { version, logins } = this.#options;
    const anonymous = logins.anonymous[this.#primary];
    const connection = await cluster.connect(version);
    if (this.#isAbandoned) {
      connection.close();
      throw new ClusterUnreachableError('the client has gone');
    }
    this.#connection = connection;
    if (anonymous) {
      await cluster.limitLogins(() => openSession(connection, this.#identityOf(anonymous), this.#timeoutMs));
      return { opcode: Opcode.READY, body: Buffer.alloc(0), upstreams: this.#finish(anonymous) };
    }
    const reply = await connection.startup(encodeStartup(this.#startup), this.#timeoutMs);
    cluster.demandsLogin = opcodeOf(reply) === Opcode.AUTHENTICATE;
    if (cluster.demandsLogin) {
      this.#authenticate = reply;
      this.#mechanism = decodeAuthenticate(bodyOf(reply));
    }
    return this.#take(reply);
  }

  /** AUTH_RESPONSE. @throws ClusterUnreachableError, RequestTimeoutError, ProtocolError */
  async respond(body: Buffer): Promise<LoginStep> {
    if (!this.#connection || !this.#authenticate) throw new ProtocolError('AUTH_RESPONSE before STARTUP');
    if (this.#steps++ >= MAX_STEPS) throw new ProtocolError('a login of too many steps');
    const token = decodeAuthToken(body);
    this.#given = this.#isPlainTurn && token?.[0] === 0 ? decodePlainToken(token) : undefined;
    this.#isPlainTurn = token?.equals(DSE_PLAIN) === true;
    const { logins, phase } = this.#options;
    const needsOther = phase() !== 'target-only';
    const plan = this.#given ? planLogin(logins, this.#given, this.#primary, needsOther) : undefined;
    const connection = this.#connection;
    if (plan === undefined || plan.kind === 'relay') {
      const ask = () => connection.request(Opcode.AUTH_RESPONSE, 0, body, this.#timeoutMs);
      return this.#take(await this.#cluster.limitLogins(ask));
    }
    if (plan.kind === 'refuse') return this.#refuse(WRONG_LOGIN);
    return this.#logInAs(plan.credentials, plan.kind === 'verifyElsewhere');
  }

  /** Gives up the connection of an unfinished login. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#connection?.close();
    this.#connection = undefined;
  }

  /** Only the first answer, or the one behind DSE's question for the mechanism, can be user name and password. */
  #isPlainTurn = true;

  get #cluster() {
    return this.#options.clusters[this.#primary];
  }

  get #timeoutMs(): number {
    return this.#cluster.config.connectTimeoutMs;
  }

  #take(reply: Buffer): LoginStep {
    const opcode = opcodeOf(reply);
    const body = bodyOf(reply);
    if (opcode === Opcode.READY) return { opcode, body, upstreams: this.#finish(undefined) };
    if (opcode === Opcode.AUTH_SUCCESS) {
      if (this.#given) return { opcode, body, upstreams: this.#finish(this.#given) };
      return this.#finishDedicated(opcode, body);
    }
    if (opcode === Opcode.ERROR) this.abandon();
    return { opcode, body };
  }

  /** The primary gets another login than the client's, which the other cluster checks where no mapping stands for it. */
  async #logInAs(credentials: Credentials, isVerifiedElsewhere: boolean): Promise<LoginStep> {
    if (isVerifiedElsewhere) {
      const refusal = await this.#verifyElsewhere();
      if (refusal !== undefined) return this.#refuse(refusal);
    }
    try {
      const run = () => logIn(this.#connection!, this.#authenticate!, credentials, this.#timeoutMs);
      const reply = await this.#cluster.limitLogins(run);
      return { opcode: Opcode.AUTH_SUCCESS, body: bodyOf(reply), upstreams: this.#finish(credentials) };
    } catch (error) {
      if (!(error instanceof AuthenticationFailedError)) throw error;
      const setting = `proxy.logins.mapping.${this.#given!.username}.${this.#primary}`;
      this.#options.logger.error('a mapped login is refused', { setting, error: describeError(error) });
      return this.#refuse(`The ${this.#primary} refuses the login of ${setting}; correct it`);
    }
  }

  /** Resolves to why the client's own login is not accepted. @throws ClusterUnreachableError, RequestTimeoutError */
  async #verifyElsewhere(): Promise<string | undefined> {
    const cluster = this.#options.clusters[this.#other];
    const connection = await cluster.connect(this.#options.version);
    try {
      const reply = await connection.startup(encodeStartup(this.#startup), this.#timeoutMs);
      if (opcodeOf(reply) !== Opcode.AUTHENTICATE) {
        return `No cluster can check this login: name it under proxy.logins.mapping.${this.#given!.username}.${this.#other}`;
      }
      await cluster.limitLogins(() => logIn(connection, reply, this.#given!, this.#timeoutMs));
      return undefined;
    } catch (error) {
      if (error instanceof AuthenticationFailedError) return WRONG_LOGIN;
      throw error;
    } finally {
      connection.close();
    }
  }

  #refuse(message: string): LoginStep {
    this.abandon();
    const error = { code: ErrorCode.AUTH_ERROR, message };
    return { opcode: Opcode.ERROR, body: encodeError(error, this.#options.version) };
  }

  /** The verified connection carries requests from now on, if there is need of one more. */
  #finish(credentials: Credentials | undefined): SessionUpstreams {
    const upstreams = this.#upstreamsOf(credentials);
    const connection = this.#connection;
    const isTaken = connection !== undefined && upstreams.pool(this.#primary).adopt(connection);
    if (!isTaken) connection?.close();
    this.#connection = undefined;
    return upstreams;
  }

  #finishDedicated(opcode: number, body: Buffer): LoginStep {
    const { clusters, phase, logins, logger } = this.#options;
    const cannotFollow = clusters[this.#other].demandsLogin !== false && logins.shadow === 'client';
    if (cannotFollow) {
      const message = `A login by ${this.#mechanism} can't be repeated on the ${this.#other}: set proxy.logins.shadow to own, or log in with user name and password`;
      if (shadowOf(phase()) === this.#other) return this.#refuse(message);
      logger.warn('a client could not be followed into a phase of two clusters', { reason: message });
    }
    const upstreams = this.#upstreamsOf(undefined);
    upstreams.dedicate(this.#primary, this.#connection!);
    this.#connection = undefined;
    return { opcode, body, upstreams };
  }

  /** @throws ClusterUnreachableError when there are too many different clients */
  #upstreamsOf(credentials: Credentials | undefined): SessionUpstreams {
    const { clusters, logins, version, phase } = this.#options;
    const mapped = this.#given && logins.mapping.get(this.#given.username);
    const onOther = this.#given ? (mapped?.[this.#other] ?? this.#given) : logins.anonymous[this.#other];
    const upstreams = new SessionUpstreams(clusters, {
      version,
      startup: this.#startup,
      credentials: pairOf(this.#primary, credentials, onOther),
      shadowCredentials: this.#shadowCredentials(onOther === undefined),
      primary: () => primaryOf(phase()),
    });
    if (this.#given || credentials) this.#requireRoom(upstreams);
    return upstreams;
  }

  /**
   * Copies are made with the proxy's own logins where the configuration says so, and where the primary asks nobody who he
   * is: everybody may do everything there, so the proxy's login adds no right.
   */
  #shadowCredentials(isAnonymous: boolean): Record<ClusterName, Credentials | undefined> | undefined {
    const { clusters, logins } = this.#options;
    const asksNobody = isAnonymous && this.#authenticate === undefined;
    if (logins.shadow !== 'own' && !asksNobody) return undefined;
    return {
      origin: clusters.origin.config.credentials ?? undefined,
      target: clusters.target.config.credentials ?? undefined,
    };
  }

  #requireRoom(upstreams: SessionUpstreams): void {
    if (this.#cluster.hasRoomFor(upstreams.identity(this.#primary))) return;
    throw new ProtocolError('the proxy serves too many different logins and STARTUP options; close some clients');
  }

  #identityOf(credentials: Credentials) {
    return { version: this.#options.version, startup: this.#startup, credentials, keyspace: undefined };
  }
}

/** Cassandra's words, for a login that no cluster was asked about. */
const WRONG_LOGIN = 'Provided username and/or password are incorrect';

function pairOf(
  primary: ClusterName,
  onPrimary: Credentials | undefined,
  onOther: Credentials | undefined,
): Record<ClusterName, Credentials | undefined> {
  return primary === 'origin' ? { origin: onPrimary, target: onOther } : { origin: onOther, target: onPrimary };
}
