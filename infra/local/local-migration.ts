/** Makes the local environment a migration: secrets, stacks, a config file that every verb takes. */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateSecretCommand, SecretsManagerClient, UpdateSecretCommand } from '@aws-sdk/client-secrets-manager';
import { stringify } from 'yaml';
import { PrerequisiteError } from '#core/errors.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { deployStacks, outputNamed, type StackOutputs } from './cdk.ts';
import { type Login, ringshiftLogin } from './cluster-roles.ts';
import type { LocalEnvironment } from './environment.ts';
import { awsEndpoint, awsEnvironment, LOCAL_REGION, type LocalAwsSettings } from './local-aws.ts';

/** The tenant of the example filter: what belongs to it stays on the origin. */
export const filteredTenant = 'e19206ba-c584-11e8-882a-0a580a30028e';

/** What `local up` leaves for later commands. */
export interface LocalState {
  readonly version: 1;
  readonly startedAt: string;
  readonly configFile: string;
  readonly bucket: string;
  readonly queueUrl: string;
  readonly outputs: StackOutputs;
}

const stateFile = (environment: LocalEnvironment): string => join(environment.folder, 'state.json');
const secretName = (side: ClusterName): string => `ringshift-local/${side}`;

export function readState(environment: LocalEnvironment): LocalState | undefined {
  try {
    const state = JSON.parse(readFileSync(stateFile(environment), 'utf8')) as LocalState;
    return state.version === 1 ? state : undefined;
  } catch {
    return undefined;
  }
}

export function forgetState(environment: LocalEnvironment): void {
  rmSync(stateFile(environment), { force: true });
}

/** migration.yaml of the local environment; bucket and queue are known once the stacks are deployed. */
export function migrationYaml(
  environment: LocalEnvironment,
  deployed: { readonly bucket: string; readonly queueUrl: string },
): string {
  const cluster = (side: ClusterName): object => ({
    contactPoints: [environment[side].address],
    port: environment[side].port,
    localDatacenter: 'dc1',
    auth: { secret: `secretsmanager:${secretName(side)}` },
    // One node each: a few connections carry everything, and two cores are all there may be.
    connectionsPerHost: 2,
  });
  return stringify({
    origin: cluster('origin'),
    target: cluster('target'),
    ledger: { kind: 's3', bucket: deployed.bucket },
    proxy: {
      listen: { host: environment.proxyAddress, port: 9042 },
      admin: { host: environment.proxyAddress, port: 8080 },
      instance: 'local-proxy',
      filterRules: 'filter-rules.yaml',
    },
    // A story can't wait for ten quiet minutes after its outage.
    gates: { quietMinutes: 0 },
    failedWrites: { queueUrl: deployed.queueUrl, journalDir: join(environment.folder, 'journal') },
    // Small ranges and few tasks: the data is small, the cores are few, and the fan-out should still be seen.
    bulkLoad: { targetWriteMBps: 40, rangeMB: 2, maxConcurrency: 2 },
    // The budget is for a cluster that serves users; here it would only slow the story.
    validation: { originReadMBps: 1000, settleMs: 2000, rangesPerTable: 4, maxConcurrency: 2 },
  });
}

/** filter-rules.yaml with the one excluded tenant, or with none. */
export function filterRulesYaml(tenants: readonly string[]): string {
  return stringify({ version: 1, tenants: { columns: ['system_domain_id'], exclude: [...tenants] } });
}

async function putSecret(client: SecretsManagerClient, name: string, login: Login): Promise<void> {
  const text = JSON.stringify({ username: login.username, password: login.password });
  try {
    await client.send(new CreateSecretCommand({ Name: name, SecretString: text }));
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'ResourceExistsException') throw error;
    await client.send(new UpdateSecretCommand({ SecretId: name, SecretString: text }));
  }
}

/** The clusters' credentials where functions and command look for them. */
export async function putSecrets(aws: LocalAwsSettings): Promise<void> {
  const client = new SecretsManagerClient({
    endpoint: awsEndpoint(aws),
    region: LOCAL_REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  try {
    await Promise.all([
      putSecret(client, secretName('origin'), ringshiftLogin),
      putSecret(client, secretName('target'), ringshiftLogin),
    ]);
  } finally {
    client.destroy();
  }
}

function requiredOutput(outputs: StackOutputs, name: string): string {
  const value = outputNamed(outputs, name);
  if (value === undefined) throw new PrerequisiteError(`cdk deploy gave no output ${name}`);
  return value;
}

/**
 * Deploys the stacks into the running local AWS and writes the config files and the state file.
 * @throws PrerequisiteError with the CDK's last lines
 */
export async function deployMigration(environment: LocalEnvironment, signal?: AbortSignal): Promise<LocalState> {
  mkdirSync(environment.folder, { recursive: true });
  const configFile = join(environment.folder, 'migration.yaml');
  writeFileSync(join(environment.folder, 'filter-rules.yaml'), filterRulesYaml([filteredTenant]));
  writeFileSync(
    configFile,
    migrationYaml(environment, { bucket: 'known-after-deploy', queueUrl: 'https://known.after.deploy' }),
  );
  await putSecrets(environment.aws);
  const outputs = await deployStacks(environment.aws, { context: { config: configFile }, signal });
  const bucket = requiredOutput(outputs, 'BucketName');
  const queueUrl = requiredOutput(outputs, 'FailedWritesQueueUrl');
  writeFileSync(configFile, migrationYaml(environment, { bucket, queueUrl }));
  const state: LocalState = {
    version: 1,
    startedAt: new Date().toISOString(),
    configFile,
    bucket,
    queueUrl,
    outputs,
  };
  writeFileSync(stateFile(environment), `${JSON.stringify(state, null, 2)}\n`);
  return state;
}

/**
 * Shell lines that point `ringshift` and the AWS tools at the local environment. A profile of the user would win over the
 * keys, so what must be empty is unset.
 */
export function shellEnvironment(environment: LocalEnvironment): string[] {
  return Object.entries(awsEnvironment(environment.aws)).map(([name, value]) =>
    value === '' ? `unset ${name}` : `export ${name}=${value}`,
  );
}
