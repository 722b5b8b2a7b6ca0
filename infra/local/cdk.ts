import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { awsEnvironment, LOCAL_ACCOUNT, LOCAL_REGION, type LocalAwsSettings } from './local-aws.ts';
import { projectEnvironment, projectRoot } from './paths.ts';
import { runOrFail } from './processes.ts';

export interface DeployOptions {
  /** CDK context, for example which configuration file the functions get. */
  readonly context: Readonly<Record<string, string>>;
  /** Names of stacks, of which none needs another one; all when left out. */
  readonly stacks?: readonly string[];
  /** Environment of the CDK app beside the AWS endpoint. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** Outputs by stack, then by output name, as `cdk deploy --outputs-file` writes them. */
export type StackOutputs = Readonly<Record<string, Readonly<Record<string, string>>>>;

/**
 * `cdk bootstrap` and `cdk deploy`, exactly as against AWS but for the endpoint in the environment.
 * @throws PrerequisiteError with the last lines of the CDK's output
 */
export async function deployStacks(settings: LocalAwsSettings, options: DeployOptions): Promise<StackOutputs> {
  const cdk = join(projectRoot, 'node_modules', '.bin', 'cdk');
  const env = projectEnvironment({ ...awsEnvironment(settings), CDK_DISABLE_CLI_TELEMETRY: 'true', ...options.env });
  const common = { cwd: projectRoot, env, timeoutMs: 300_000, signal: options.signal };
  const outputsFile = join(settings.folder, 'outputs.json');
  const assembly = join(settings.folder, 'cdk.out');
  const context = Object.entries({ account: LOCAL_ACCOUNT, region: LOCAL_REGION, ...options.context }).flatMap(
    ([key, value]) => ['--context', `${key}=${value}`],
  );
  const which = options.stacks === undefined ? ['--all'] : [...options.stacks, '--exclusively'];
  // Synthesized once; bootstrap then takes no app, so that it does not synthesize a second time.
  await Promise.all([
    runOrFail('cdk synth', cdk, ['synth', ...which, '--quiet', '--output', assembly, ...context], common),
    runOrFail('cdk bootstrap', cdk, ['bootstrap', `aws://${LOCAL_ACCOUNT}/${LOCAL_REGION}`, '--app', ''], {
      ...common,
      cwd: settings.folder,
    }),
  ]);
  await runOrFail(
    'cdk deploy',
    cdk,
    [
      'deploy',
      ...which,
      '--require-approval',
      'never',
      '--app',
      assembly,
      '--outputs-file',
      outputsFile,
      '--concurrency',
      '4',
    ],
    common,
  );
  return JSON.parse(readFileSync(outputsFile, 'utf8')) as StackOutputs;
}

/** The value of an output by its name, whichever stack has it. */
export function outputNamed(outputs: StackOutputs, name: string): string | undefined {
  for (const stack of Object.values(outputs)) {
    if (stack[name] !== undefined) return stack[name];
  }
  return undefined;
}
