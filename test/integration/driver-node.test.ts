import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '../../infra/local/paths.ts';
import { DriverEnvironment } from './support/driver-environment.ts';
import { declaredChecks, type ProgramReport, type Runs, runProgram, testChecks } from './support/driver-program.ts';
import { contentsOf } from './support/same-on-both.ts';
import { type HostAndPort, readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'driver_node';
const DIRECT = 'driver_node_direct';
const { origin, target, username, password } = readTestEnvironment();
const VECTORS = 'stores vectors';
const folder = join(projectRoot, 'test', 'drivers', 'node');
const checks = declaredChecks(readdirSync(folder).map((name) => join(folder, name)));

let environment: DriverEnvironment;
let runs: Runs;
let vectors: Runs;
let contents: Readonly<Record<'origin' | 'target', unknown>>;

function run(place: HostAndPort, keyspace: string, part: string): Promise<ProgramReport> {
  const side = keyspace === KEYSPACE ? 'proxy' : 'direct';
  return runProgram({
    command: process.execPath,
    args: [join(folder, 'main.ts'), place.host, String(place.port), username, password, keyspace, side, part],
    keyspace,
    asks: environment.asks(keyspace),
  });
}

async function runBoth(cluster: HostAndPort, part: string): Promise<Runs> {
  const [through, direct] = await Promise.all([run(environment.listen, KEYSPACE, part), run(cluster, DIRECT, part)]);
  return { through, direct };
}

beforeAll(async () => {
  environment = await DriverEnvironment.start(25_330, [KEYSPACE], [DIRECT]);
  runs = await runBoth(origin, 'all');
  await environment.settled();
  contents = {
    origin: await contentsOf(environment.origin, KEYSPACE),
    target: await contentsOf(environment.target, KEYSPACE),
  };
  await environment.cutOver();
  vectors = await runBoth(target, 'vector');
}, 900_000);

afterAll(() => environment?.stop());

testChecks(
  'the Node driver',
  checks.filter(({ name }) => name !== VECTORS),
  () => runs,
);
testChecks(
  'the Node driver on the target alone',
  checks.filter(({ name }) => name === VECTORS),
  () => vectors,
);

test('both clusters hold the same rows with the same write times after the Node driver', () => {
  expect(contents.target).toEqual(contents.origin);
});
