/**
 * The AWS half. `npx cdk deploy --all` reads the migration's configuration (context `config`, or
 * RINGSHIFT_CONFIG_FILE; default config/migration.yaml) and nothing of any account: what it makes is the same for AWS
 * and for a local AWS.
 */

import { App, Tags } from 'aws-cdk-lib';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { MigrationError } from '#core/errors.ts';
import { addStacks } from './add-stacks.ts';
import { describeDeployment, readOptions } from './deployment.ts';

const app = new App();
try {
  const file = String(
    app.node.tryGetContext('config') ?? process.env['RINGSHIFT_CONFIG_FILE'] ?? 'config/migration.yaml',
  );
  const config = await readMigrationConfig(file, {
    // These two name what is only being made here; the functions get the real values.
    MIGRATION_BUCKET: 'made-by-this-deployment',
    FAILED_WRITES_QUEUE_URL: 'made-by-this-deployment',
    ...process.env,
  });
  const deployment = describeDeployment(config, readOptions(app));
  addStacks(app, deployment, {
    account: app.node.tryGetContext('account') ?? process.env['CDK_DEFAULT_ACCOUNT'],
    region: app.node.tryGetContext('region') ?? process.env['CDK_DEFAULT_REGION'],
  });
  Tags.of(app).add('ringshift:migration', deployment.options.name);
  app.synth();
} catch (error) {
  if (!(error instanceof MigrationError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
