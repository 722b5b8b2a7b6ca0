import type { Logger } from '#core/ports.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * One JSON line each on standard output, which is what CloudWatch Logs Insights takes apart. Not `console`: Lambda puts
 * time and request id in front of its lines, and then embedded metrics are not recognised.
 */
export function createFunctionLogger(base: Fields): Logger {
  const write = (level: string, message: string, fields?: Fields) => {
    const line = { level, time: new Date().toISOString(), message, ...base, ...fields };
    process.stdout.write(`${JSON.stringify(line, replaceBigint)}\n`);
  };
  return {
    debug: (message, fields) => {
      if (process.env['RINGSHIFT_LOG_LEVEL'] === 'debug') write('debug', message, fields);
    },
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
    error: (message, fields) => write('error', message, fields),
  };
}

/** Metrics in CloudWatch's embedded format: a log line, so that no call and no permission is needed. */
export function writeMetrics(migration: string, metrics: Readonly<Record<string, number>>, nowMillis: number): void {
  const line = {
    _aws: {
      Timestamp: nowMillis,
      CloudWatchMetrics: [
        {
          Namespace: 'Ringshift',
          Dimensions: [['Migration']],
          Metrics: Object.keys(metrics).map((Name) => ({ Name, Unit: 'Count' })),
        },
      ],
    },
    Migration: migration,
    ...metrics,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The migration's name: functions are called by it, with a hyphen and the name of their job behind it. */
export function migrationName(jobName: string): string {
  const own = process.env['AWS_LAMBDA_FUNCTION_NAME'] ?? 'ringshift';
  return own.endsWith(`-${jobName}`) ? own.slice(0, -jobName.length - 1) : own;
}

function replaceBigint(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
