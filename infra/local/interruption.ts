/** A signal that aborts when the user or the system wants this program to end. */
export function abortOnSignals(): AbortController {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Stays installed: a second Ctrl-C must not end us in the middle of stopping what we started.
    process.on(signal, () => controller.abort(new InterruptedError(signal)));
  }
  return controller;
}

/** The program was asked to end; what it started is stopped, and its exit code says so. */
export class InterruptedError extends Error {
  override readonly name = 'InterruptedError';

  constructor(signal: string) {
    super(`interrupted (${signal})`);
  }
}
