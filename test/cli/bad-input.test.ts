import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { jsonOf, runRingshift } from './run-ringshift.ts';

let folder: string;
/** A config whose clusters refuse connections, with its ledger in a directory. */
let away: string;
/** The same with its ledger and its queue in an AWS that refuses connections. */
let awayAws: string;
/** Nothing listens there, and no connection of another process is given it. */
const closedPort = 1;

interface Failure {
  readonly error: { readonly name?: string; readonly message: string };
}

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringshift-cli-'));
  const clusters = ['origin', 'target']
    .map((side) => `${side}: { contactPoints: [127.0.0.1], port: ${closedPort} }\n`)
    .join('');
  const proxy = 'proxy: { listen: { host: 127.0.0.1, port: 0 }, admin: { port: 0 } }\n';
  away = file('away.yaml', `${clusters}${proxy}ledger: { kind: file, path: ${join(folder, 'ledger')} }\n`);
  const queue = `failedWrites: { queueUrl: "http://127.0.0.1:${closedPort}/queue" }\n`;
  awayAws = file('away-aws.yaml', `${clusters}${proxy}${queue}ledger: { kind: s3, bucket: nowhere }\n`);
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

const THREE_MISTAKES = `origin:
  contactPoints: []
target:
  contactPoints: [127.0.0.1]
  port: 99999
bulkLoad:
  tomstones: all
`;

test.each([['phase', 'get'], ['schema', 'diff', 'ks'], ['load', 'status'], ['proxy'], ['deploy', 'aws']])(
  'a config with three mistakes: all three with their paths and lines, exit code 2 (%s %s)',
  async (...verb) => {
    const config = file('three.yaml', THREE_MISTAKES);
    const { code, stdout, stderr } = await runRingshift([...verb.filter(Boolean), '--config', config]);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('3 faults');
    expect(stderr).toMatch(/^ {2}origin\.contactPoints \(line 2\): /m);
    expect(stderr).toMatch(/^ {2}target\.port \(line 5\): .*65535/m);
    expect(stderr).toMatch(/^ {2}bulkLoad\.tomstones \(line 7\): unknown key$/m);
    expect(stderr.trimEnd().split('\n').length).toBe(4);
  },
);

test.each([
  [['fase', 'get'], /unknown command 'fase'\n\(Did you mean phase\?\)/],
  [['phase', 'gett'], /unknown command 'gett'\n\(Did you mean get\?\)/],
  [['phase', 'set', 'dual-sync', '--forse'], /unknown option '--forse'\n\(Did you mean --force\?\)/],
  [['load', 'start'], /required option '--keyspace <name>' not specified\n.*--help/],
  [['phase', 'set', 'dual', '--config', 'CONFIG'], /dual-async/],
  [['validate', 'start', '--keyspace', 'ks', '--sample', 'half', '--config', 'CONFIG'], /sample/],
  [['state', 'import', 'no-such-file.json', '--config', 'CONFIG'], /no-such-file\.json can't be read: ENOENT/],
  [['phase', 'get', '--config', 'no-such-file.yaml'], /the config file no-such-file\.yaml does not exist/],
  [['proxy', '--config', 'no-such-file.yaml'], /the config file no-such-file\.yaml does not exist/],
  [['deploy', 'aws', '--config', 'no-such-file.yaml'], /the config file no-such-file\.yaml does not exist/],
  [['deploy', 'cloud-run', '--service', 'mine', '--image', 'i'], /projects\/P\/locations\/L\/services\/S, not mine/],
] as const)('wrong usage says what would be right and exits 2: %j', async (args, expected) => {
  const given = args.map((arg) => (arg === 'CONFIG' ? away : arg));
  const { code, stderr } = await runRingshift(given);
  expect(stderr).toMatch(expected);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(code).toBe(2);
});

test.each([
  [['schema', 'diff', 'ks'], 'origin'],
  [['validate', 'start', '--keyspace', 'ks', '--local'], 'origin'],
  [['proxy'], 'origin'],
])('a cluster that is away: one line that names it and where to look, exit code 1 (%j)', async (verb, side) => {
  const { code, stdout, stderr } = await runRingshift([...verb, '--config', away]);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr.trimEnd().split('\n').length).toBe(1);
  expect(stderr).toContain(side);
  expect(stderr).toContain(`127.0.0.1:${closedPort}`);
  expect(stderr).toMatch(/check|is the node up/);
});

/** No region, no profile, no key: a machine on which nobody logged in. */
const bareMachine = (env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  AWS_REGION: '',
  AWS_DEFAULT_REGION: '',
  AWS_PROFILE: '',
  AWS_ACCESS_KEY_ID: '',
  AWS_SECRET_ACCESS_KEY: '',
  AWS_CONFIG_FILE: '/dev/null',
  AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  AWS_EC2_METADATA_DISABLED: 'true',
  AWS_ENDPOINT_URL: `http://127.0.0.1:${closedPort}`,
  AWS_ENDPOINT_URL_S3: '',
  ...env,
});

test.each([
  [['phase', 'get'], {}, 'set AWS_REGION'],
  [['replay', 'status'], {}, 'set AWS_REGION'],
  [['replay', 'status'], { AWS_REGION: 'eu-west-1' }, 'set AWS_PROFILE'],
  [['proxy'], { AWS_REGION: 'eu-west-1' }, 'set AWS_PROFILE'],
  [
    ['replay', 'status'],
    { AWS_REGION: 'eu-west-1', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
    'check the network, AWS_REGION',
  ],
])('an AWS that can not be used: one line with the remedy, exit code 1 (%j %j)', async (verb, env, remedy) => {
  const { code, stderr } = await runRingshift([...verb, '--config', awayAws], bareMachine(env));
  expect(stderr.trimEnd().split('\n').length).toBe(1);
  expect(stderr).toContain(remedy);
  expect(code).toBe(1);
});

test.each([
  [2, ['phase', 'get', '--config', 'no-such-file.yaml']],
  [2, ['phase', 'get', '--bogus']],
  [2, ['phase']],
  [2, ['fase']],
  [2, ['load', 'start']],
  [1, ['schema', 'diff', 'ks', '--config', 'CONFIG']],
  [2, ['replay', 'status', '--config', 'CONFIG']],
  [2, ['validate', 'status', '--config', 'CONFIG']],
  [2, ['state', 'import', 'package.json', '--config', 'CONFIG']],
  [2, ['sstable', 'info', 'no-such-Data.db']],
] as const)('with --json a failure is one JSON document (exit code %i, %j)', async (code, args) => {
  const given = args.map((arg) => (arg === 'CONFIG' ? away : arg));
  const result = await runRingshift([...given, '--json']);
  const { error } = jsonOf<Failure>(result);
  expect(error.message.length).toBeGreaterThan(8);
  expect(error.name).toMatch(/Error$/);
  expect(result.code).toBe(code);
});
