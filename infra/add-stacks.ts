import type { App, Environment } from 'aws-cdk-lib';
import type { Deployment } from './deployment.ts';
import { BulkLoadStack } from './stacks/bulk-load-stack.ts';
import { PlanningStack } from './stacks/planning-stack.ts';
import { ReplayStack } from './stacks/replay-stack.ts';
import { StorageStack } from './stacks/storage-stack.ts';
import { ValidationStack } from './stacks/validation-stack.ts';

/** All stacks of one migration. Their names start with the migration's; ids inside never change once released. */
export function addStacks(app: App, deployment: Deployment, env: Environment) {
  const props = (what: string) => ({ env, description: `Ringshift ${deployment.options.name}: ${what}` });
  const id = (name: string) => `${deployment.options.name}-${name}`;
  const storage = new StorageStack(app, id('storage'), deployment, props('bucket and queue of failed writes'));
  const planning = new PlanningStack(
    app,
    id('planning'),
    deployment,
    storage.bucket,
    props('planning and summary of runs'),
  );
  const bulkLoad = new BulkLoadStack(app, id('bulk-load'), deployment, storage.bucket, planning, props('bulk load'));
  const validation = new ValidationStack(
    app,
    id('validation'),
    deployment,
    storage.bucket,
    planning,
    props('validation'),
  );
  const replay = new ReplayStack(app, id('replay'), deployment, storage, props('replay of failed writes'));
  return { storage, planning, bulkLoad, validation, replay };
}
