import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { addStacks } from '../../infra/add-stacks.ts';
import { describeDeployment, readOptions } from '../../infra/deployment.ts';

export const projectRoot = join(import.meta.dirname, '..', '..');

export const CONFIG = `
origin:
  contactPoints: [10.0.0.1]
  auth: { secret: "secretsmanager:production/iconik/origin" }
target:
  contactPoints: [10.1.0.1]
  auth: { username: ringshift, password: "secretsmanager:target" }
ledger: { kind: s3, bucket: placeholder, prefix: my-ledger/ }
validation:
  schedule: { enabled: true, rate: rate(6 hours), keyspaces: [ks1, ks2] }
`;

/** A CDK app with the flags of cdk.json; functions are not bundled. */
export function createApp(context: Record<string, unknown> = {}): App {
  const flags = JSON.parse(readFileSync(join(projectRoot, 'cdk.json'), 'utf8')) as { context: Record<string, unknown> };
  const outdir = mkdtempSync(join(tmpdir(), 'ringshift-cdk-'));
  process.once('exit', () => rmSync(outdir, { recursive: true, force: true }));
  return new App({
    outdir,
    analyticsReporting: false,
    context: { ...flags.context, 'aws:cdk:bundling-stacks': [], ...context },
  });
}

/** The templates of all stacks. */
export function synthesize(config = CONFIG, context: Record<string, unknown> = {}) {
  const app = createApp(context);
  const deployment = describeDeployment(parseMigrationConfig(config, 'test.yaml', {}), readOptions(app));
  const stacks = addStacks(app, deployment, { account: '123456789012', region: 'eu-west-1' });
  const templates = Object.fromEntries(
    Object.entries(stacks).map(([name, stack]) => [name, Template.fromStack(stack)]),
  ) as Record<keyof typeof stacks, Template>;
  return { app, stacks, templates, all: Object.values(templates) };
}
