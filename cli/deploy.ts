import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import {
  changeService,
  createServicesClient,
  type SidecarOptions,
  withoutSidecar,
  withSidecar,
} from '#adapters/cloud-run.ts';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { UsageError } from '#core/errors.ts';
import { withCommonOptions } from './clusters.ts';
import { type CommonOptions, printResult } from './output.ts';

interface CloudRunOptions extends CommonOptions {
  readonly service: string;
  readonly image?: string;
  readonly env: Record<string, string>;
  readonly secret: Record<string, string>;
  readonly contactPointVariable?: string;
  readonly network?: string;
  readonly subnetwork?: string;
  readonly cpu: string;
  readonly memory: string;
  readonly dryRun?: boolean;
  readonly remove?: boolean;
}

const EPHEMERAL =
  'storage: ephemeral. The disk of an instance is its memory and ends with it: failed writes go to the queue within a second, and when an instance vanishes the tables that it wrote are marked and compared again. Instances that refuse requests without the ledger (proxy.onLedgerLoss: stop) are then taken out of it by themselves; others must be fenced before the phase can change';

export function register(program: Command): void {
  const deploy = program.command('deploy').description('the proxy on Cloud Run, the AWS half by cdk');
  withCommonOptions(
    deploy
      .command('cloud-run')
      .description('add the proxy as a sidecar to a Cloud Run service (or --remove it)')
      .requiredOption('--service <name>', 'projects/P/locations/L/services/S')
      .option('--image <image>', "the proxy's image (linux/amd64)")
      .option('--env <name=value>', 'plain environment of the sidecar (repeatable)', collectPair, {})
      .option('--secret <name=secret>', 'environment from Secret Manager (repeatable)', collectPair, {})
      .option('--contact-point-variable <name>', "variable of the application that is set to the sidecar's address")
      .option('--network <name>', 'Direct VPC egress: network')
      .option('--subnetwork <name>', 'Direct VPC egress: subnetwork')
      .option('--cpu <limit>', 'CPU limit of the sidecar', '1')
      .option('--memory <limit>', 'memory limit of the sidecar', '1Gi')
      .option('--remove', 'take the sidecar away')
      .option('--dry-run', 'let Cloud Run check the change without making it'),
  ).action(cloudRun);
  withCommonOptions(
    deploy
      .command('aws')
      .description('cdk deploy of all stacks; what follows -- goes to cdk')
      .argument('[arguments...]', 'arguments for cdk'),
  ).action(aws);
}

function collectPair(text: string, pairs: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`${text} is not of the form NAME=VALUE`);
  return { ...pairs, [text.slice(0, at)]: text.slice(at + 1) };
}

async function cloudRun(options: CloudRunOptions): Promise<void> {
  if (!/^projects\/[^/]+\/locations\/[^/]+\/services\/[^/]+$/.test(options.service)) {
    throw new UsageError(`--service takes projects/P/locations/L/services/S, not ${options.service}`);
  }
  const { image } = options;
  if (!options.remove && !image) throw new UsageError('--image is missing (or use --remove)');
  if ((options.network === undefined) !== (options.subnetwork === undefined)) {
    throw new UsageError('--network and --subnetwork go together');
  }
  const sidecar: SidecarOptions = {
    image: image ?? '',
    env: options.env,
    secrets: options.secret,
    contactPointVariable: options.contactPointVariable ?? null,
    network:
      options.network && options.subnetwork ? { network: options.network, subnetwork: options.subnetwork } : null,
    cpu: options.cpu,
    memory: options.memory,
  };
  const client = createServicesClient();
  try {
    const updated = await changeService(
      client,
      options.service,
      (service) => (options.remove ? withoutSidecar(service) : withSidecar(service, sidecar)),
      options.dryRun ?? false,
    );
    const containers = (updated.template?.containers ?? []).map((container) => container.name ?? '');
    const storage = options.remove ? {} : { storage: 'ephemeral' };
    printResult(options, { service: options.service, containers, changed: !options.dryRun, ...storage }, [
      `${options.service} ${options.dryRun ? 'would have' : 'has'} the containers ${containers.join(', ')}`,
      ...(options.remove ? [] : [EPHEMERAL]),
    ]);
  } finally {
    await client.close();
  }
}

async function aws(args: string[], options: CommonOptions): Promise<void> {
  // Its faults are told here, in our way and before cdk starts. These two are what is only being made.
  await readMigrationConfig(options.config, {
    MIGRATION_BUCKET: 'made-by-this-deployment',
    FAILED_WRITES_QUEUE_URL: 'made-by-this-deployment',
    ...process.env,
  });
  const root = join(import.meta.dirname, '..');
  const cdk = join(root, 'node_modules', '.bin', 'cdk');
  const child = spawn(cdk, ['deploy', '--all', ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, RINGSHIFT_CONFIG_FILE: options.config },
  });
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
