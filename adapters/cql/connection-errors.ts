import type { ErrorMessage } from '#core/cql/error-message.ts';
import { ErrorCode, errorCodeName } from '#core/cql/protocol.ts';
import { AuthenticationFailedError, ClusterUnreachableError, ServerError } from '#core/errors.ts';

/** The node as messages name it: `target 10.0.0.7:9042`. */
export interface NodeName {
  readonly cluster: string;
  readonly host: string;
  readonly port: number;
}

export function nameNode({ cluster, host, port }: NodeName): string {
  return `${cluster} ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there; is the node up, and is the port right?',
  ENOTFOUND: 'the name is unknown; correct contactPoints',
  EAI_AGAIN: 'the name can’t be resolved now; is DNS reachable?',
  ETIMEDOUT: 'no answer; is a firewall in between?',
  EHOSTUNREACH: 'there is no route to it; check network and addressMap',
  ENETUNREACH: 'there is no route to it; check network and addressMap',
  ECONNRESET: 'it closed the connection; does it expect TLS?',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not signed by a known authority; set tls.caFile',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not signed by a known authority; set tls.caFile',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not signed by a known authority; set tls.caFile',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet; is the clock right?',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is not signed by a known authority; set tls.caFile',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not signed by a known authority; set tls.caFile',
  CERT_SIGNATURE_FAILURE: 'its certificate is not signed by the authority of tls.caFile; correct caFile',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name; correct it or tls.verifyHostname',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'it wants a certificate of this side; set tls.certFile and tls.keyFile',
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: 'TLS failed; does it want a certificate (tls.certFile), or other ciphers?',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'it does not know who signed the certificate of tls.certFile; correct it',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'it refuses the certificate of tls.certFile; correct it',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'the certificate of tls.certFile has expired; renew it',
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: 'it speaks no TLS 1.2 or 1.3',
  ERR_SSL_UNSUPPORTED_PROTOCOL: 'it speaks no TLS 1.2 or 1.3',
};

/** Why a socket failed and what to do, for the faults that are known; never what a certificate holds. */
export function reasonOf(cause: unknown): string | undefined {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? '';
  return REASONS[code] ?? (code.startsWith('ERR_SSL') ? 'TLS failed; does the port speak TLS?' : undefined);
}

/** One line with what failed, where, and what to do. */
export function unreachable(node: NodeName, cause: unknown): ClusterUnreachableError {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? '';
  const text = (cause as Error | undefined)?.message ?? String(cause);
  const reason = reasonOf(cause) ?? text;
  return new ClusterUnreachableError(`${nameNode(node)} can't be reached: ${reason}`, {
    cause,
    context: { ...node, code },
  });
}

/** What an ERROR reply means to a caller. */
export function serverError(node: NodeName, error: ErrorMessage): ServerError {
  return new ServerError(
    `${nameNode(node)} answered ${errorCodeName(error.code)}: ${error.message}`,
    error.code,
    RETRYABLE.has(error.code),
    { ...node, ...(error.writeType === undefined ? {} : { writeType: error.writeType }) },
  );
}

const RETRYABLE: ReadonlySet<number> = new Set([
  // A fault of the node, not of the request.
  ErrorCode.SERVER_ERROR,
  ErrorCode.UNAVAILABLE,
  ErrorCode.OVERLOADED,
  ErrorCode.IS_BOOTSTRAPPING,
  ErrorCode.WRITE_TIMEOUT,
  ErrorCode.READ_TIMEOUT,
  ErrorCode.READ_FAILURE,
  ErrorCode.WRITE_FAILURE,
  ErrorCode.UNPREPARED,
]);

/** The cluster refused the credentials; the server's words are kept for whoever passes them on. */
export function authenticationFailed(node: NodeName, error: ErrorMessage): AuthenticationFailedError {
  return new AuthenticationFailedError(
    `${nameNode(node)} refused the credentials (${error.message}); correct ${node.cluster}.auth`,
    { context: { ...node, code: error.code, serverMessage: error.message } },
  );
}
