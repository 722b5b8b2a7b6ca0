/** The proxy's process, which `ringshift proxy` and the image run in a bundled form. Exits 0 after a drain, 1 when it can't serve, 2 on wrong arguments or a wrong config. */
import cluster from 'node:cluster';
import { parseArgs } from 'node:util';
import { createLogger, type LogLevel } from '#adapters/logger.ts';
import { readProxyConfig } from '#adapters/proxy-config.ts';
import { ConfigError, describeError, UsageError } from '#core/errors.ts';
import { processCount } from './processes/process-place.ts';
import { watchParent } from './processes/watch-parent.ts';

/** As in older versions of Node: one small buffer that is kept keeps the slab that it was cut from, and 64 KiB is a lot. */
const POOL_BYTES = 8 * 1024;
const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent'];

async function main(): Promise<void> {
  Buffer.poolSize = POOL_BYTES;
  watchParent(
    process.env,
    () => process.ppid,
    () => process.kill(process.pid, 'SIGTERM'),
  );
  const { config, warnings, logLevel } = await readProxyConfig(configArgument());
  const logger = createLogger('proxy', levelOf(process.env['RINGSHIFT_LOG_LEVEL'] ?? logLevel));
  const count = processCount(config.proxy);
  if (cluster.isPrimary) for (const warning of warnings) logger.warn('a setting of zdm-proxy', { warning });
  if (count > 1 && cluster.isPrimary) {
    const { runHost } = await import('./processes/run-host.ts');
    return runHost(config, count, logger);
  }
  const { runProcess, runProxy } = await import('./processes/run-proxy.ts');
  return cluster.isWorker ? runProcess(config, logger) : runProxy(config, logger);
}

function configArgument(): string | undefined {
  try {
    return parseArgs({ options: { config: { type: 'string' } } }).values.config;
  } catch (error) {
    throw new UsageError(`${describeError(error)}; the one argument is --config FILE`);
  }
}

function levelOf(name: string | undefined): LogLevel {
  return LEVELS.find((level) => level === name) ?? 'info';
}

try {
  await main();
} catch (error) {
  process.stderr.write(`ringshift proxy: ${describeError(error)}\n`);
  process.exit(error instanceof ConfigError || error instanceof UsageError ? 2 : 1);
}
