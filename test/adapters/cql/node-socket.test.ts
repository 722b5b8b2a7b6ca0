import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createSecureContext, createServer } from 'node:tls';
import { afterEach, expect, test, vi } from 'vitest';
import { connectSocket } from '#adapters/cql/node-socket.ts';
import { createAuthority, issue } from '../../support/x509.ts';

const HOST = { names: ['127.0.0.1'] };

afterEach(() => vi.unstubAllEnvs());

test('a node of an unknown authority is refused, also where the environment switches that off for others', async () => {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0');
  const [known, unknown] = [createAuthority('known'), createAuthority('unknown')];
  const server = createServer(issue(unknown, 'node', HOST), (socket) => socket.end());
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const tls = { context: createSecureContext({ ca: known.cert }), verifyHostname: true };
  const socket = connectSocket({ host: '127.0.0.1', port, tls });
  await expect(once(socket, 'secureConnect')).rejects.toMatchObject({
    code: expect.stringMatching(/VERIFY|ISSUER|SELF/),
  });
  server.close();
});
