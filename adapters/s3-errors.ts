import { S3ServiceException } from '@aws-sdk/client-s3';
import { MigrationError, ObjectStoreError } from '#core/errors.ts';

/** Whether S3 says that there is no such object (as against a refused or failed request). */
export function isMissing(error: unknown): boolean {
  return error instanceof S3ServiceException && (error.name === 'NoSuchKey' || error.name === 'NotFound');
}

/**
 * Puts an SDK error into this product's words. Our own errors and the caller's abort pass unchanged. An answer of the
 * server has `status` in its context; a connection that broke has not.
 */
export function wrapS3Error(error: unknown, name: string, done: string, signal?: AbortSignal): unknown {
  if (error instanceof MigrationError || signal?.aborted) return error;
  if (error instanceof S3ServiceException) {
    const status = error.$metadata.httpStatusCode;
    return new ObjectStoreError(`${name} could not be ${done}: ${error.name}${remedy(error)}`, {
      cause: error,
      context: { name, status: status ?? 0, code: error.name },
    });
  }
  const reason = error instanceof Error ? error.message || error.name : String(error);
  return new ObjectStoreError(`${name} could not be ${done}: ${reason}`, { cause: error, context: { name } });
}

function remedy(error: S3ServiceException): string {
  switch (error.name) {
    case 'NoSuchBucket':
      return ' (deploy the stacks first, or correct the bucket in the configuration)';
    case 'NoSuchKey':
    case 'NotFound':
      return ' (there is no such object)';
    case 'AccessDenied':
    case 'Forbidden':
      return ' (these credentials may not do it; see the policies of the storage stack)';
    case 'PreconditionFailed':
      return ' (it was replaced while it was being read)';
    default:
      return '';
  }
}
