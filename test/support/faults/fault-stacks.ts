/** The replay stack and its storage as a user deploys them, under names of their own, in the tests' local AWS. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { deployStacks, outputNamed } from '../../../infra/local/cdk.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { migrationYaml, putSecrets } from '../../../infra/local/local-migration.ts';

const NAME = 'faults';

export interface FaultStacks {
  /** What the names of its functions begin with. */
  readonly name: string;
  /** Of the functions and the command: straight to both clusters. */
  readonly configFile: string;
  readonly bucket: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
}

export async function deployFaultStacks(): Promise<FaultStacks> {
  const folder = join(testEnvironment.folder, NAME);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const configFile = join(folder, 'migration.yaml');
  const write = (deployed: { bucket: string; queueUrl: string }): void => {
    const config = parse(migrationYaml({ ...testEnvironment, folder }, deployed)) as Record<string, object>;
    const changed = {
      ...config,
      ledger: { kind: 's3', bucket: deployed.bucket, prefix: `run-${process.pid}/` },
      proxy: { ...config['proxy'], filterRules: null },
      failedWrites: { ...config['failedWrites'], retryIntervalSecs: 1 },
      validation: { settleMs: 500, rangesPerTable: 2, maxConcurrency: 2, originReadMBps: 1000 },
    };
    writeFileSync(configFile, stringify(changed));
  };
  write({ bucket: 'known-after-deploy', queueUrl: 'https://known.after.deploy' });
  await putSecrets(testEnvironment.aws);
  const outputs = await deployStacks(
    { ...testEnvironment.aws, folder },
    {
      stacks: [`${NAME}-storage`, `${NAME}-replay`],
      context: { config: configFile, name: NAME, bucketName: `${NAME}-bucket`, mapConcurrency: 'config' },
    },
  );
  const output = (name: string): string => {
    const value = outputNamed(outputs, name);
    if (value === undefined) throw new Error(`cdk deploy gave no output ${name}`);
    return value;
  };
  const deployed = { bucket: output('BucketName'), queueUrl: output('FailedWritesQueueUrl') };
  write(deployed);
  return { name: NAME, configFile, ...deployed, deadLetterQueueUrl: output('DeadLetterQueueUrl') };
}
