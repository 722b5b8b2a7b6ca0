import { connect } from 'node:net';

/** OPTIONS of protocol v4: version, flags, stream (2), opcode 0x05, body length (4). Needs no log-in. */
const OPTIONS = Uint8Array.of(0x04, 0, 0, 0, 0x05, 0, 0, 0, 0);
const RESPONSE_V4 = 0x84;
const SUPPORTED = 0x06;

/** Whether a CQL server answers OPTIONS with SUPPORTED there: an open port alone may be anything. */
export function answersCql(host: string, port: number, timeoutMs = 2000): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    let received = Buffer.alloc(0);
    socket.setTimeout(timeoutMs, () => finish(false));
    socket.on('error', () => finish(false));
    socket.on('close', () => resolve(false));
    socket.on('connect', () => socket.write(OPTIONS));
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length >= 5) finish(received[0] === RESPONSE_V4 && received[4] === SUPPORTED);
    });
  });
}
