import { createServer } from 'node:net';
import { PrerequisiteError } from '#core/errors.ts';
import { runCommand } from './processes.ts';

type PortProbe = { kind: 'free' } | { kind: 'used' } | { kind: 'noAddress' };

function probe(host: string, port: number): Promise<PortProbe> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve({ kind: 'used' });
      else if (error.code === 'EADDRNOTAVAIL') resolve({ kind: 'noAddress' });
      else reject(error);
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve({ kind: 'free' })));
  });
}

/** The `p…` and `c…` lines of `lsof -Fpc` as "name (pid n)". */
export function parseLsofOwner(output: string): string | undefined {
  const pid = /^p(\d+)$/m.exec(output)?.[1];
  const name = /^c(.+)$/m.exec(output)?.[1];
  return pid && name ? `${name} (pid ${pid})` : undefined;
}

async function ownerOf(host: string, port: number): Promise<string | undefined> {
  try {
    const { stdout } = await runCommand('lsof', ['-nP', '-Fpc', `-iTCP@${host}:${port}`, '-sTCP:LISTEN']);
    return parseLsofOwner(stdout);
  } catch {
    return undefined; // lsof is a courtesy; without it the message names the port alone
  }
}

/**
 * Checks that something can listen there.
 * @throws PrerequisiteError naming the process that has the port, or how to add the loopback address
 */
export async function requireFreePort(host: string, port: number, purpose: string): Promise<void> {
  const result = await probe(host, port);
  if (result.kind === 'free') return;
  if (result.kind === 'noAddress') {
    throw new PrerequisiteError(
      `${purpose} needs the address ${host}, which this machine does not have. ` +
        `On macOS add it: sudo ifconfig lo0 alias ${host} up`,
    );
  }
  const owner = await ownerOf(host, port);
  throw new PrerequisiteError(
    `Port ${port} of ${host}, needed for ${purpose}, is in use${owner ? ` by ${owner}` : ''}. ` +
      'Stop that process (`npx ringshift local down` if it is from an earlier run), then try again.',
  );
}
