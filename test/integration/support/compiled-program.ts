/** Driver programs in languages that are compiled: built once on a machine, skipped by name where there is no compiler. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheRoot, projectRoot } from '../../../infra/local/paths.ts';
import { runOrFail } from '../../../infra/local/processes.ts';
import { DriverEnvironment, readerLogin } from './driver-environment.ts';
import { declaredChecks, type ProgramReport, type Runs, runProgram, testChecks } from './driver-program.ts';
import { contentsOf } from './same-on-both.ts';
import { type HostAndPort, readTestEnvironment } from './test-environment.ts';

export interface CompiledDriver {
  /** For the names of tests. */
  readonly title: string;
  /** Below test/drivers; the sources are in it or in its `src`. */
  readonly folder: string;
  readonly compiler: string;
  /** What to do where the compiler is missing. */
  readonly remedy: string;
  /** Where the proxy listens; the next two ports are used as well. */
  readonly port: number;
  /** What builds it, run among its sources. */
  build(output: string): { readonly args: readonly string[]; readonly env?: NodeJS.ProcessEnv };
  /** Where the program is then. */
  program(output: string): string;
}

function filesOf(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  return names.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name));
}

/** Builds what has changed; compilers keep what they made of the drivers themselves. */
async function build(driver: CompiledDriver, source: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of filesOf(source).sort()) hash.update(readFileSync(file));
  const folder = join(cacheRoot, 'drivers', driver.folder);
  const kept = join(folder, `checks-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(kept)) return kept;
  mkdirSync(folder, { recursive: true });
  const { args, env } = driver.build(folder);
  await runOrFail(`Building the checks of ${driver.title}`, driver.compiler, args, {
    cwd: source,
    env: { ...process.env, ...env },
    remedy: 'Check the network (and the proxy or mirror settings), then run the same command again.',
  });
  renameSync(driver.program(folder), kept);
  return kept;
}

function isOnPath(command: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, command)));
}

/** All checks of a driver as tests, through the proxy and beside it, and that both clusters hold the same afterwards. */
export function testCompiledDriver(driver: CompiledDriver): void {
  const source = join(projectRoot, 'test', 'drivers', driver.folder);
  const { title } = driver;
  if (!isOnPath(driver.compiler)) {
    test.skip(`${title}: ${driver.compiler} is missing: ${driver.remedy}`, () => undefined);
    return;
  }
  const keyspace = `driver_${driver.folder}`;
  const { origin, username, password } = readTestEnvironment();
  let environment: DriverEnvironment | undefined;
  let runs: Runs;

  const run = (program: string, { host, port }: HostAndPort, name: string): Promise<ProgramReport> =>
    runProgram({
      command: program,
      args: [],
      keyspace: name,
      env: {
        CHECK_HOST: host,
        CHECK_PORT: String(port),
        CHECK_USERNAME: username,
        CHECK_PASSWORD: password,
        CHECK_READER: readerLogin.username,
        CHECK_READER_PASSWORD: readerLogin.password,
        CHECK_KEYSPACE: name,
      },
    });

  beforeAll(async () => {
    const program = await build(driver, source);
    environment = await DriverEnvironment.start(driver.port, [keyspace], [`${keyspace}_direct`]);
    const [through, direct] = await Promise.all([
      run(program, environment.listen, keyspace),
      run(program, origin, `${keyspace}_direct`),
    ]);
    runs = { through, direct };
    await environment.settled();
  });

  afterAll(() => environment?.stop());

  testChecks(title, declaredChecks(filesOf(source)), () => runs);

  test(`both clusters hold the same rows with the same write times after ${title}`, async () => {
    const [onOrigin, onTarget] = [environment!.origin, environment!.target];
    expect(await contentsOf(onTarget, keyspace)).toEqual(await contentsOf(onOrigin, keyspace));
  });
}
