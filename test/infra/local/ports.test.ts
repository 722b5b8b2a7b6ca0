import { createServer, type Server } from 'node:net';
import { expect, test } from 'vitest';
import { PrerequisiteError } from '#core/errors.ts';
import { answersCql } from '../../../infra/local/cql-probe.ts';
import { parseLsofOwner, requireFreePort } from '../../../infra/local/ports.ts';

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port));
  });
}

test('a taken port is reported with its number, its purpose and the remedy', async () => {
  const server = createServer();
  const port = await listen(server);
  try {
    const error = await requireFreePort('127.0.0.1', port, 'the origin').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(PrerequisiteError);
    expect((error as Error).message).toMatch(new RegExp(`Port ${port} of 127.0.0.1, needed for the origin, is in use`));
    expect((error as Error).message).toMatch(/local down/);
  } finally {
    server.close();
  }
});

test('a free port passes', async () => {
  // Any other may be taken by the time it is asked for.
  const anyFree = 0;
  await expect(requireFreePort('127.0.0.1', anyFree, 'the origin')).resolves.toBeUndefined();
});

test('an address that the machine does not have is reported with how to add it', async () => {
  await expect(requireFreePort('192.0.2.1', 9042, 'the origin')).rejects.toThrow(/ifconfig lo0 alias 192.0.2.1/);
});

test('the owner of a port is read from lsof', () => {
  expect(parseLsofOwner('p4242\ncjava\nf12\n')).toBe('java (pid 4242)');
  expect(parseLsofOwner('')).toBeUndefined();
});

test('only a CQL server counts as ready', async () => {
  const answers = [Uint8Array.of(0x84, 0, 0, 0, 0x06, 0, 0, 0, 0), new TextEncoder().encode('HTTP/1.1 400')];
  for (const [index, answer] of answers.entries()) {
    const server = createServer((socket) => socket.on('data', () => socket.end(answer)));
    const port = await listen(server);
    expect(await answersCql('127.0.0.1', port)).toBe(index === 0);
    await new Promise((resolve) => server.close(resolve));
  }
});
