const VARIABLE = 'RINGSHIFT_PARENT';
const INTERVAL_MS = 1_000;

/**
 * A launcher that can't become this process names itself in the environment. When it is gone, killed without a chance to
 * pass that on, `onGone` is called, once.
 */
export function watchParent(
  env: Record<string, string | undefined>,
  parentPid: () => number,
  onGone: () => void,
): void {
  const launcher = env[VARIABLE];
  // Not for processes that this one starts: they have a parent of their own.
  delete env[VARIABLE];
  if (launcher === undefined) return;
  const timer = setInterval(() => {
    if (parentPid() === Number(launcher)) return;
    clearInterval(timer);
    onGone();
  }, INTERVAL_MS).unref();
}
