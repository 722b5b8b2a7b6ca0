/**
 * Throws where nobody else is under way, so that a fault in one handler neither stops its caller nor is hidden: the
 * process's last resort counts and logs it.
 * @see last-resort.ts
 */
export function rethrowLater(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
