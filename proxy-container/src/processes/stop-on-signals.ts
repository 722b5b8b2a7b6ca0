import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';

/**
 * Stops in order when the process is told to end, then exits: 0, or 1 when stopping failed.
 * @returns the same for other reasons, perhaps with another exit code
 */
export function stopOnSignals(
  logger: Logger,
  stop: () => Promise<unknown>,
): (reason: string, exitCode?: number) => void {
  let isStopping = false;
  const begin = (signal: string, exitCode = 0): void => {
    // A process group's signal arrives more than once: from the terminal or the launcher, and from the command.
    if (isStopping) return;
    isStopping = true;
    logger.info('draining', { signal });
    stop().then(
      () => process.exit(exitCode),
      (error: unknown) => {
        logger.error('the drain failed', { error: describeError(error) });
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => begin(signal));
  // The terminal has gone; elsewhere it asks for files to be read again.
  if (process.stdout.isTTY) process.on('SIGHUP', () => begin('SIGHUP'));
  return begin;
}
