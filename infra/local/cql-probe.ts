import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ClientTlsFiles } from './cassandra-config.ts';

/** OPTIONS of protocol v4: version, flags, stream (2), opcode 0x05, body length (4). Needs no log-in. */
const OPTIONS = Uint8Array.of(0x04, 0, 0, 0, 0x05, 0, 0, 0, 0);
const RESPONSE_V4 = 0x84;
const SUPPORTED = 0x06;

/**
 * Whether a CQL server answers OPTIONS with SUPPORTED there: an open port alone may be anything.
 * @param tls where it speaks TLS; the node's own certificate is shown as the client's
 */
export function answersCql(host: string, port: number, tls?: ClientTlsFiles, timeoutMs = 2000): Promise<boolean> {
  return new Promise((resolve) => {
    const own = tls && readFileSync(tls.ownFile);
    const socket = own
      ? connectTls({ host, port, cert: own, key: own, rejectUnauthorized: false })
      : connect({ host, port });
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    let received = Buffer.alloc(0);
    socket.setTimeout(timeoutMs, () => finish(false));
    socket.on('error', () => finish(false));
    socket.on('close', () => resolve(false));
    socket.on(own ? 'secureConnect' : 'connect', () => socket.write(OPTIONS));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= 5) finish(received[0] === RESPONSE_V4 && received[4] === SUPPORTED);
    });
  });
}
