import { afterAll, beforeAll, expect, test } from 'vitest';
import { DriverEnvironment } from './support/driver-environment.ts';
import { declaredChecks, type ProgramReport, type Runs, runProgram, testChecks } from './support/driver-program.ts';
import { buildJavaProgram, type JavaProgram, javaSources } from './support/java-program.ts';
import { contentsOf } from './support/same-on-both.ts';
import { type HostAndPort, readTestEnvironment } from './support/test-environment.ts';

const KEYSPACE = 'driver_java';
const DIRECT = 'driver_java_direct';
const { origin, target, username, password } = readTestEnvironment();
const VECTORS = 'stores vectors';
const checks = declaredChecks(javaSources);

let environment: DriverEnvironment;
let program: JavaProgram;
let runs: Runs;
let vectors: Runs;
let contents: Readonly<Record<'origin' | 'target', unknown>>;

function run(place: HostAndPort, keyspace: string, part: string): Promise<ProgramReport> {
  const side = keyspace === KEYSPACE ? 'proxy' : 'direct';
  return runProgram({
    command: program.command,
    args: [...program.args, place.host, String(place.port), username, password, keyspace, side, part],
    keyspace,
    asks: environment.asks(keyspace),
  });
}

async function runBoth(cluster: HostAndPort, part: string): Promise<Runs> {
  const [through, direct] = await Promise.all([run(environment.listen, KEYSPACE, part), run(cluster, DIRECT, part)]);
  return { through, direct };
}

beforeAll(async () => {
  program = await buildJavaProgram();
  environment = await DriverEnvironment.start(25_310, [KEYSPACE], [DIRECT]);
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
  'the Java driver',
  checks.filter(({ name }) => name !== VECTORS),
  () => runs,
);
testChecks(
  'the Java driver on the target alone',
  checks.filter(({ name }) => name === VECTORS),
  () => vectors,
);

test('both clusters hold the same rows with the same write times after the Java driver', () => {
  expect(contents.target).toEqual(contents.origin);
});
