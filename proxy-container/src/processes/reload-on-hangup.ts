import { describeError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import type { AdminSubject } from '../admin/admin-subject.ts';

/** SIGHUP: certificates, bundles and filter rules are read again. With a terminal it means that this has gone. */
export function reloadOnHangup(
  subject: Pick<AdminSubject, 'reloadCertificates' | 'reloadFilters'>,
  logger: Logger,
): void {
  if (process.stdout.isTTY) return;
  process.on('SIGHUP', () => {
    logger.info('files are read again', { signal: 'SIGHUP' });
    for (const work of [subject.reloadCertificates(), subject.reloadFilters()]) {
      work.catch((error: unknown) => {
        logger.error('a file was not read again; what is in force stays', { error: describeError(error) });
      });
    }
  });
}
