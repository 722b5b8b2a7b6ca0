/** Opens what most verbs need: config, clusters, ledger; and closes it again. */
import type { Command } from 'commander';
import { connectDriver, type DriverClient } from '#adapters/cassandra/driver-client.ts';
import { readMigrationConfig, resolveCluster } from '#adapters/config-file.ts';
import type { MigrationConfig } from '#core/config/schema.ts';

/** `--config` and `--json`, the same everywhere. */
export function withCommonOptions(command: Command): Command {
  return command
    .option('--config <file>', 'the migration config', 'config/migration.yaml')
    .option('--json', 'print the result as one JSON document');
}

/** Reads the config and runs `body` with a control-plane client of each cluster. */
export async function withBothClusters<T>(
  configFile: string,
  body: (context: { config: MigrationConfig; origin: DriverClient; target: DriverClient }) => Promise<T>,
): Promise<T> {
  const config = await readMigrationConfig(configFile);
  const open: DriverClient[] = [];
  try {
    const origin = await connectDriver(await resolveCluster('origin', config.origin));
    open.push(origin);
    const target = await connectDriver(await resolveCluster('target', config.target));
    open.push(target);
    return await body({ config, origin, target });
  } finally {
    await Promise.all(open.map((client) => client.shutdown().catch(() => undefined)));
  }
}
