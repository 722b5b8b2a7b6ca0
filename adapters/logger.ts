import { pino } from 'pino';
import type { Logger } from '#core/ports.ts';

/** Levels from most to least talkative; `silent` is for tests. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** One JSON line each on standard output (or `destinationFd`), time in ISO form. */
export function createLogger(component: string, level: LogLevel = 'info', destinationFd: 1 | 2 = 1): Logger {
  const log = pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ fd: destinationFd, sync: true }),
  );
  return {
    debug: (message, fields) => log.debug(fields ?? {}, message),
    info: (message, fields) => log.info(fields ?? {}, message),
    warn: (message, fields) => log.warn(fields ?? {}, message),
    error: (message, fields) => log.error(fields ?? {}, message),
  };
}
