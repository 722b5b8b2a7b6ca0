import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot, venvFolder, venvPython } from '../../infra/local/paths.ts';
import { runCommand } from '../../infra/local/processes.ts';
import { DriverEnvironment } from './support/driver-environment.ts';
import { declaredChecks, type ProgramReport, type Runs, runProgram, testChecks } from './support/driver-program.ts';
import { contentsOf } from './support/same-on-both.ts';
import { type HostAndPort, readTestEnvironment } from './support/test-environment.ts';

const V4 = 'driver_python_v4';
const V5 = 'driver_python_v5';
const SHELL = 'driver_cqlsh';
const directOf = (keyspace: string) => `${keyspace}_direct`;
const { origin, target, username, password } = readTestEnvironment();
const folder = join(projectRoot, 'test', 'drivers', 'python');
const VECTORS = 'stores vectors';
const sources = readdirSync(folder).filter((name) => name.endsWith('_checks.py'));
const checks = declaredChecks(sources.map((name) => join(folder, name)));
const scratch = mkdtempSync(join(tmpdir(), 'ringshift-cqlsh-'));

let environment: DriverEnvironment;
let v4: Runs;
let v5: Runs;
let vectors: Runs;
let shell: Readonly<Record<'through' | 'direct', readonly string[]>>;
const contents: { origin: object[]; target: object[] } = { origin: [], target: [] };

function run(place: HostAndPort, keyspace: string, version: 4 | 5, part: string): Promise<ProgramReport> {
  const side = place === environment.listen ? 'proxy' : 'direct';
  const where = [place.host, String(place.port), username, password, keyspace, side];
  return runProgram({
    command: venvPython,
    args: ['-B', join(folder, 'main.py'), ...where, String(version), part],
    keyspace,
    asks: environment.asks(keyspace),
  });
}

/** What cqlsh prints for each of the scripts, one after another. */
async function cqlsh(place: HostAndPort, keyspace: string): Promise<string[]> {
  const outputs: string[] = [];
  for (const [index, script] of scriptsOf(keyspace).entries()) {
    const file = join(scratch, `${keyspace}-${index}.cql`);
    writeFileSync(file, script);
    const args = [place.host, String(place.port), '-u', username, '-p', password, '-k', keyspace];
    const patience = ['--request-timeout', '60', '--connect-timeout', '60'];
    const { stdout, stderr } = await runCommand(join(venvFolder, 'bin', 'cqlsh'), [...args, ...patience, '-f', file]);
    outputs.push(`${stdout}\n${stderr}`.replaceAll(keyspace, 'KS'));
  }
  return outputs;
}

function scriptsOf(keyspace: string): string[] {
  const rows = Array.from(
    { length: 120 },
    (_, id) => `INSERT INTO plain (id, v, at) VALUES (${id}, 'v${id}', toTimestamp(0));`,
  );
  const copied = join(scratch, `${keyspace}.csv`);
  return [
    `CREATE TYPE pair (a int, b text);
     CREATE TABLE plain (id int PRIMARY KEY, v text, at timestamp, tags set<text>, p frozen<pair>);
     CREATE INDEX plain_v ON plain (v);
     CREATE TABLE counted (id int PRIMARY KEY, c counter);
     ${rows.join('\n')}
     UPDATE plain SET tags = {'x', 'y'}, p = {a: 1, b: 'two'} WHERE id = 7;
     UPDATE counted SET c = c + 5 WHERE id = 1;
     BEGIN BATCH INSERT INTO plain (id, v) VALUES (200, 'batch'); DELETE v FROM plain WHERE id = 8; APPLY BATCH;`,
    `DESCRIBE KEYSPACE; DESCRIBE TABLE plain; DESCRIBE TYPE pair; DESCRIBE TABLES; DESCRIBE INDEX plain_v;`,
    `CONSISTENCY LOCAL_QUORUM; SERIAL CONSISTENCY LOCAL_SERIAL; PAGING 50; SELECT id, v FROM plain; SELECT * FROM counted;
     SELECT JSON * FROM plain WHERE id = 7; EXPAND ON; SELECT * FROM plain WHERE id = 7; SELECT key, bootstrapped FROM system.local;`,
    `SELEC; SELECT nothing FROM plain; SELECT * FROM plain WHERE at = 0; INSERT INTO plain (id) VALUES ('x'); USE no_such_keyspace;
     CREATE TABLE plain (id int PRIMARY KEY); CONSISTENCY THREE; SELECT * FROM plain WHERE id = 1;`,
    `COPY plain (id, v, tags) TO '${copied}' WITH HEADER = TRUE;
     CREATE TABLE copied (id int PRIMARY KEY, v text, tags set<text>);
     COPY copied (id, v, tags) FROM '${copied}' WITH HEADER = TRUE AND NUMPROCESSES = 2;
     SELECT count(*) FROM copied; SELECT * FROM copied WHERE id = 7;`,
  ];
}

beforeAll(async () => {
  environment = await DriverEnvironment.start(25_320, [V4, V5, SHELL], [V4, V5, SHELL].map(directOf));
  const [throughV4, directV5] = await Promise.all([
    run(environment.listen, V4, 4, 'all'),
    run(origin, directOf(V5), 5, 'all'),
  ]);
  const [through, direct] = await Promise.all([cqlsh(environment.listen, SHELL), cqlsh(origin, directOf(SHELL))]);
  shell = { through, direct };
  await environment.settled();
  await environment.proxy.setPhase('dual-sync');
  const [throughV5, directV4] = await Promise.all([
    run(environment.listen, V5, 5, 'all'),
    run(origin, directOf(V4), 4, 'all'),
  ]);
  v4 = { through: throughV4, direct: directV4 };
  v5 = { through: throughV5, direct: directV5 };
  await environment.settled();
  for (const keyspace of [V4, V5, SHELL]) {
    contents.origin.push(await contentsOf(environment.origin, keyspace));
    contents.target.push(await contentsOf(environment.target, keyspace));
  }
  await environment.cutOver();
  const [throughVector, directVector] = await Promise.all([
    run(environment.listen, V5, 5, 'vector'),
    run(target, directOf(V5), 5, 'vector'),
  ]);
  vectors = { through: throughVector, direct: directVector };
}, 900_000);

afterAll(async () => {
  await environment?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const usual = checks.filter(({ name }) => name !== VECTORS);
testChecks('the Python driver on v4, dual-async:', usual, () => v4);
testChecks('the Python driver on v5, dual-sync:', usual, () => v5);
testChecks(
  'the Python driver on the target alone:',
  checks.filter(({ name }) => name === VECTORS),
  () => vectors,
);

test.each([
  ['defines tables and writes', 0],
  ['describes keyspaces, tables and types', 1],
  ['pages, expands and reads JSON', 2],
  ['shows the errors of the cluster', 3],
])('cqlsh %s as without the proxy', (_, index) => {
  expect(comparable(shell.through[index]!)).toBe(comparable(shell.direct[index]!));
});

/** Script names and addresses differ, and Cassandra warns of the number of all tables, which grows meanwhile. */
function comparable(output: string): string {
  return output
    .replace(/\S+\.cql:/g, '')
    .replace(/127\.\d+\.\d+\.\d+:\d+/g, 'NODE')
    .replace(/\s*Warnings :\s*Cluster already contains .*/g, '')
    .replace(/\s*\n/g, '\n');
}

test('cqlsh copies a table to a file and from it', () => {
  for (const output of [shell.through[4]!, shell.direct[4]!]) {
    expect(output).toMatch(/121 rows exported to 1 files/);
    expect(output).toMatch(/121 rows imported from 1 files/);
    expect(output).toMatch(/7 \|\s+\{'x', 'y'\} \| +v7/);
  }
  const [first, ...rest] = readFileSync(join(scratch, `${SHELL}.csv`), 'utf8')
    .trim()
    .split(/\r?\n/);
  expect(first).toBe('id,v,tags');
  expect(rest).toHaveLength(121);
});

test('both clusters hold the same rows with the same write times after the Python driver and cqlsh', () => {
  expect(contents.target).toEqual(contents.origin);
});

test('cqlsh shows the trace of a query', async () => {
  const args = [environment.listen.host, String(environment.listen.port), '-u', username, '-p', password, '-k', SHELL];
  const script = 'TRACING ON; SELECT * FROM plain WHERE id = 7;';
  const { stdout, stderr } = await runCommand(join(venvFolder, 'bin', 'cqlsh'), [...args, '-e', script]);
  expect(`${stdout}${stderr}`).toMatch(/Tracing session: [0-9a-f-]{36}[\s\S]*Request complete/);
});
