export interface Totals {
  readonly passed: number;
  readonly failed: number;
}

/** What is read of the file that vitest's JSON reporter writes. */
interface VitestReport {
  readonly success?: unknown;
  readonly numPassedTests?: unknown;
  readonly numFailedTests?: unknown;
  readonly testResults?: readonly { readonly status?: unknown; readonly assertionResults?: readonly unknown[] }[];
}

/**
 * Totals of one vitest run. A file that could not be loaded has no tests but counts as one failure, and so does a run
 * that failed without naming a test (its set-up broke, an error was never caught) or left no report.
 */
export function vitestTotals(reportText: string | undefined, exitCode: number): Totals {
  let report: VitestReport;
  try {
    report = JSON.parse(reportText ?? '') as VitestReport;
  } catch {
    return { passed: 0, failed: 1 };
  }
  const passed = Number(report.numPassedTests ?? 0);
  const brokenFiles = (report.testResults ?? []).filter(
    (file) => file.status === 'failed' && !file.assertionResults?.some((test) => hasStatus(test, 'failed')),
  ).length;
  const failed = Number(report.numFailedTests ?? 0) + brokenFiles;
  const unexplained = failed === 0 && (exitCode !== 0 || report.success === false || passed === 0);
  return { passed, failed: unexplained ? 1 : failed };
}

function hasStatus(test: unknown, status: string): boolean {
  return typeof test === 'object' && test !== null && (test as { status?: unknown }).status === status;
}

export function addTotals(all: readonly Totals[]): Totals {
  return all.reduce((sum, one) => ({ passed: sum.passed + one.passed, failed: sum.failed + one.failed }), {
    passed: 0,
    failed: 0,
  });
}

/** The last line of `npm test`. */
export function totalsLine({ passed, failed }: Totals): string {
  return `${passed} passed, ${failed} failed`;
}
