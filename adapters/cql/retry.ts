import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode } from '#core/cql/protocol.ts';
import { ClusterUnreachableError, RequestTimeoutError, ServerError } from '#core/errors.ts';

export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
  readonly on: readonly ('timeout' | 'unavailable' | 'overloaded')[];
}

/** What may happen to a request that failed once. */
export interface Retryability {
  /** It may be applied twice without harm. */
  readonly isIdempotent: boolean;
  /** It must not be sent twice, whatever the server said. */
  readonly isNeverRepeated: boolean;
}

/** Whether a failed attempt may be followed by another one, on this node or the next. */
export function mayRetry(error: unknown, wasSent: boolean, request: Retryability, policy: RetryPolicy): boolean {
  if (error instanceof ClusterUnreachableError && !wasSent) return true;
  if (request.isNeverRepeated) return false;
  const reason = reasonOf(error);
  if (reason === undefined || !policy.on.includes(reason)) return false;
  // Unavailable: no replica was asked. Everything else may have been applied.
  return reason === 'unavailable' || request.isIdempotent;
}

function reasonOf(error: unknown): RetryPolicy['on'][number] | undefined {
  if (error instanceof RequestTimeoutError || error instanceof ClusterUnreachableError) return 'timeout';
  if (!(error instanceof ServerError)) return undefined;
  switch (error.code) {
    case ErrorCode.UNAVAILABLE:
      return 'unavailable';
    case ErrorCode.OVERLOADED:
    case ErrorCode.IS_BOOTSTRAPPING:
      return 'overloaded';
    case ErrorCode.WRITE_TIMEOUT:
    case ErrorCode.READ_TIMEOUT:
    case ErrorCode.READ_FAILURE:
    case ErrorCode.WRITE_FAILURE:
      return 'timeout';
    default:
      return undefined;
  }
}

/** Waits before attempt `attempt` + 1 (1-based): doubling, with up to a half of it random. */
export async function waitBeforeRetry(attempt: number, policy: RetryPolicy, signal?: AbortSignal): Promise<void> {
  const delayMs = Math.min(policy.minDelayMs * 2 ** (attempt - 1), policy.maxDelayMs);
  await sleep(delayMs * (0.5 + Math.random() / 2), undefined, signal ? { signal } : {});
}
