/** `ringshift local up | down | status`: real clusters and a local AWS with the stacks deployed, kept running. */
import { describeError, PrerequisiteError } from '#core/errors.ts';
import {
  demoEnvironment,
  environmentStatus,
  type LocalEnvironment,
  startEnvironment,
  stopEnvironment,
  testEnvironment,
} from './environment.ts';
import { abortOnSignals } from './interruption.ts';
import { awsEndpoint } from './local-aws.ts';
import { deployMigration, forgetState, readState, shellEnvironment } from './local-migration.ts';
import { prepare } from './prepare.ts';

const report = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function up(environment: LocalEnvironment): Promise<void> {
  const { signal } = abortOnSignals();
  const { java } = await prepare(report);
  const before = await environmentStatus(environment);
  try {
    await startEnvironment(environment, { java, keepData: before.origin || before.target, report, signal });
    if (!before.aws) forgetState(environment);
    if (readState(environment) === undefined) {
      report('deploying the stacks (cdk deploy) …');
      await deployMigration(environment, signal);
    }
  } catch (error) {
    await stopEnvironment(environment);
    forgetState(environment);
    // Whatever broke first, the reason was that we were asked to end.
    throw signal.aborted ? signal.reason : error;
  }
  const state = readState(environment);
  print(`origin  ${environment.origin.address}:${environment.origin.port} (Cassandra ${environment.origin.version})`);
  print(`target  ${environment.target.address}:${environment.target.port} (Cassandra ${environment.target.version})`);
  print(`AWS     ${awsEndpoint(environment.aws)} (bucket ${state?.bucket})`);
  print(`config  ${state?.configFile}`);
  print('To use it from this shell:');
  for (const line of shellEnvironment(environment)) print(`  ${line}`);
  print(`Start the proxy with: npx ringshift proxy --config ${state?.configFile}`);
}

async function down(environment: LocalEnvironment): Promise<void> {
  await stopEnvironment(environment);
  forgetState(environment);
  print('everything is stopped');
}

async function status(environment: LocalEnvironment, json: boolean): Promise<void> {
  const running = await environmentStatus(environment);
  const state = readState(environment);
  if (json) {
    print(
      JSON.stringify({
        ...running,
        deployed: running.aws && state !== undefined,
        configFile: state?.configFile ?? null,
      }),
    );
  } else {
    for (const [name, runs] of Object.entries(running)) print(`${name.padEnd(7)} ${runs ? 'running' : 'stopped'}`);
    print(`stacks  ${running.aws && state ? `deployed, config ${state.configFile}` : 'not deployed'}`);
  }
  if (!(running.origin && running.target && running.aws)) process.exitCode = 1;
}

async function main(args: readonly string[]): Promise<void> {
  const environment = args.includes('--test') ? testEnvironment : demoEnvironment;
  const verb = args.find((arg) => !arg.startsWith('--'));
  if (verb === 'up') await up(environment);
  else if (verb === 'down') await down(environment);
  else if (verb === 'status') await status(environment, args.includes('--json'));
  else throw new PrerequisiteError('usage: ringshift local up | down | status');
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`ringshift local: ${describeError(error)}\n`);
  process.exitCode = error instanceof PrerequisiteError ? 2 : 1;
}
