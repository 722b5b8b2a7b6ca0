import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';

export interface LastResortOptions {
  readonly logger: Logger;
  /** Counts the fault. */
  readonly onFault: () => void;
}

/**
 * What nobody caught ends here and not the process, which carries the requests of other clients: each fault is logged
 * with its stack and counted. Nothing is closed: who owns a connection closes it where its stream can't be trusted any
 * more, and a request that is not answered is lost by its time-out.
 */
export function installLastResort(emitter: NodeJS.EventEmitter, { logger, onFault }: LastResortOptions): void {
  const note = (event: string) => (error: unknown) => {
    onFault();
    const stack = error instanceof Error ? error.stack : undefined;
    logger.error('a fault was not handled', { event, error: describeError(error), ...(stack ? { stack } : {}) });
  };
  emitter.on('uncaughtException', note('uncaughtException'));
  emitter.on('unhandledRejection', note('unhandledRejection'));
}
