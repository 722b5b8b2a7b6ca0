/** What the command says when a cluster refuses it or a port is taken, and that nothing goes on running then. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { ringshiftLogin } from '../../infra/local/cluster-roles.ts';
import { runCommand } from '../../infra/local/processes.ts';
import { jsonOf, runRingshift } from '../cli/run-ringshift.ts';
import { connectToTestCluster } from './support/clusters.ts';
import { readTestEnvironment } from './support/test-environment.ts';

let folder: string;
/** Has the port that the proxy wants. */
let holder: Server;
let takenPort: number;
const { origin, target, proxyAddress } = readTestEnvironment();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-refused-'));
  holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, proxyAddress, resolve));
  takenPort = (holder.address() as AddressInfo).port;
});

afterAll(async () => {
  await new Promise((resolve) => holder.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

interface Changes {
  readonly originPassword?: string;
  readonly targetPassword?: string;
  readonly listenPort?: number;
  readonly adminPort?: number;
}

function writeConfig(name: string, changes: Changes): string {
  const cluster = ({ host, port }: typeof origin, password = ringshiftLogin.password) => ({
    contactPoints: [host],
    port,
    auth: { username: ringshiftLogin.username, password },
  });
  const file = join(folder, `${name}.yaml`);
  writeFileSync(
    file,
    stringify({
      origin: cluster(origin, changes.originPassword),
      target: cluster(target, changes.targetPassword),
      ledger: { kind: 'file', path: join(folder, `${name}-ledger`) },
      proxy: {
        listen: { host: proxyAddress, port: changes.listenPort ?? 25_570 },
        admin: { host: proxyAddress, port: changes.adminPort ?? 25_571 },
      },
      failedWrites: { journalDir: join(folder, `${name}-journal`) },
    }),
  );
  return file;
}

const WRONG = 'not-the-password';

test.each([
  ['schema diff', ['schema', 'diff', 'system_auth'], { originPassword: WRONG }, 'origin'],
  ['schema diff', ['schema', 'diff', 'system_auth'], { targetPassword: WRONG }, 'target'],
  ['validate --local', ['validate', 'start', '--keyspace', 'any', '--local'], { originPassword: WRONG }, 'origin'],
  ['proxy', ['proxy'], { originPassword: WRONG }, 'origin'],
] as const)(
  '%s with a wrong password: one line that says whose, exit code 1 (%j %j)',
  async (_, verb, changes, side) => {
    const { code, stdout, stderr } = await runRingshift([...verb, '--config', writeConfig('wrong', changes)]);
    expect(stderr.trimEnd().split('\n').length, stderr).toBe(1);
    expect(stderr).toContain(side);
    expect(stderr).toMatch(new RegExp(`(check|correct|refuses the login of) ${side}\\.auth`));
    expect(stderr).not.toContain(WRONG);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  },
);

test('a wrong password is one JSON document with --json, without the password', async () => {
  const config = writeConfig('wrong-json', { targetPassword: WRONG });
  const result = await runRingshift(['schema', 'diff', 'system_auth', '--config', config, '--json']);
  expect(jsonOf<object>(result)).toMatchObject({ error: { name: 'AuthenticationFailedError', retryable: false } });
  expect(result.stdout).not.toContain(WRONG);
  expect(result.code).toBe(1);
});

test.each([
  ['its CQL port', 'listenPort', 'proxy.listen.port'],
  ['its admin port', 'adminPort', 'proxy.admin.port'],
] as const)(
  'a proxy that finds %s taken: one line with the port and the remedy, and it is gone',
  async (_, key, setting) => {
    const config = writeConfig(key, { [key]: takenPort });
    const { code, stdout, stderr } = await runRingshift(['proxy', '--config', config], {
      RINGSHIFT_LOG_LEVEL: 'error',
    });
    expect(stderr.trimEnd().split('\n').length, stderr).toBe(1);
    expect(stderr).toContain(`${proxyAddress}:${takenPort}`);
    expect(stderr).toContain('in use');
    expect(stderr).toContain(setting);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    const { stdout: processes } = await runCommand('ps', ['-eo', 'command=', '-ww']);
    expect(processes.split('\n').filter((line) => line.includes(config))).toEqual([]);
    // And it has left no member behind whom a change of phase would wait for.
    const left = jsonOf<{ keys: string[] }>(
      await runRingshift(['state', 'list', 'proxies/', '--config', config, '--json']),
    );
    expect(left.keys).toEqual([]);
  },
);

test('both clusters still serve who has the right password', async () => {
  for (const side of ['origin', 'target'] as const) {
    const client = await connectToTestCluster(side);
    await client.shutdown();
  }
  const config = writeConfig('right', {});
  expect((await runRingshift(['schema', 'diff', 'system_distributed', '--config', config])).stderr).toBe('');
});
