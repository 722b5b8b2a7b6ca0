import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net';
import { checkServerIdentity, connect as connectTls, type SecureContext } from 'node:tls';

/** Where a node is, and how it is spoken to. */
export interface NodeAddress {
  /** The node's name: its address, or its host id where a proxy leads to it. */
  readonly host: string;
  readonly port: number;
  readonly tls?: {
    readonly context: SecureContext;
    readonly verifyHostname: boolean;
    /** What to ask for (SNI); the host unless given. */
    readonly serverName?: string;
  };
  /** What leads to the node (`port` is its own): connected to, and named in its certificate, instead of the host. */
  readonly via?: string;
}

/**
 * Begins to connect. The chain of certificates is always verified; the name in them is that of the machine connected to,
 * whatever is asked for by SNI, which knows names only and no addresses.
 * @param onread takes what comes without TLS; otherwise listen to `data`
 */
export function connectSocket({ host: name, port, tls, via }: NodeAddress, onread?: OnReadOpts): Socket {
  const host = via ?? name;
  if (!tls) return connectTcp({ host, port, ...(onread ? { onread } : {}) });
  const serverName = tls.serverName ?? (isIP(host) ? undefined : host);
  return connectTls({
    host,
    port,
    secureContext: tls.context,
    // Whatever the environment says.
    rejectUnauthorized: true,
    ...(serverName === undefined ? {} : { servername: serverName }),
    checkServerIdentity: (_, certificate) => (tls.verifyHostname ? checkServerIdentity(host, certificate) : undefined),
  });
}
