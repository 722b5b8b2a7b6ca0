import type { MigrationConfig } from '#core/config/schema.ts';
import {
  applyZdmSettings,
  readZdmEnvironment,
  type ZdmSettings,
  zdmFileVariables,
} from '#core/config/zdm-environment.ts';
import { ConfigError } from '#core/errors.ts';
import { readMigrationConfig } from './config-file.ts';

const DEFAULT_PATH = 'config/migration.yaml';

export interface ProxyConfigFile {
  readonly config: MigrationConfig;
  /** What of zdm-proxy's settings is not taken over as it is. */
  readonly warnings: readonly string[];
  /** That zdm-proxy's settings ask for. */
  readonly logLevel: string | undefined;
}

/**
 * Reads the configuration of the proxy: the file, with zdm-proxy's variables over it; with these alone where there is no
 * file; or zdm-proxy's own file.
 * @param path undefined: `RINGSHIFT_CONFIG_FILE`, or the usual place
 * @throws UsageError when there is no such file, ConfigError with every fault
 */
export async function readProxyConfig(
  path: string | undefined,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Promise<ProxyConfigFile> {
  let settings = readZdmEnvironment(env);
  const config = await readMigrationConfig(path ?? env['RINGSHIFT_CONFIG_FILE'] ?? DEFAULT_PATH, env, {
    change: (value) => {
      const ofFile = zdmFileVariables(value);
      // As zdm-proxy has it: a file of its own is taken instead of the environment.
      if (ofFile) settings = readZdmEnvironment(ofFile);
      refuseFaults(settings);
      const hasNoFile = ofFile !== undefined || isEmpty(value);
      return settings.isEmpty ? value : applyZdmSettings(hasNoFile ? undefined : value, settings);
    },
    ...(path === undefined && !settings.isEmpty ? { textWhenAbsent: '{}' } : {}),
  });
  return { config, warnings: settings.warnings, logLevel: settings.logLevel };
}

function refuseFaults({ faults }: ZdmSettings): void {
  if (faults.length > 0) throw new ConfigError('the ZDM_ settings', faults);
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
