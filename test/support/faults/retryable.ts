/** Server errors after which an application may try again; their codes are those of the native protocol. */
const RETRYABLE_CODES: ReadonlySet<number> = new Set([0x0000, 0x1000, 0x1001, 0x1002, 0x1100, 0x1200, 0x1300, 0x1500]);
const RETRYABLE_ERRORS: ReadonlySet<string> = new Set(['NoHostAvailableError', 'OperationTimedOutError']);

/** Whether an application of this driver has to reckon with the error, and tries again. */
export function isRetryable(error: unknown): boolean {
  const { name, code, message } = error as { name: string; code?: unknown; message: string };
  const isSocket = (typeof code === 'string' && /^E[A-Z]+$/.test(code)) || message === 'Socket was closed';
  return RETRYABLE_ERRORS.has(name) || isSocket || (name === 'ResponseError' && RETRYABLE_CODES.has(Number(code)));
}
